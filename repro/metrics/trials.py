"""Trying a metric: one number of any images, with its error, so that it can be compared between sets of images.

Metrics that are tried may be means, distances of sets or spreads within a caption. Their errors, and those of
differences, come from one delete-a-group jackknife (Shao and Tu, 1995): theta without each of G groups of captions,

    var(theta) = (G - 1) / G sum_g (theta_(g) - mean)^2.

All images of a caption are in one group, and two sets of images of the same prompts have the same groups, so the
replicates of a difference are the differences of the replicates.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repro.metrics.base import Measured, Metric, Prompt
from repro.metrics.diversity import unit_sums
from repro.metrics.fid import Reference, frechet_distance

GROUPS = 20

Statistic = Callable[[Measured], float]
"""One number of a set of images; NaN where they do not determine it."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What a world wants to be tried.

    Attributes:
        metrics: take arrays from images; their own estimates are not asked for.
        statistics: numbers of those arrays, by record key.
    """

    metrics: Sequence[Metric]
    statistics: Mapping[str, Statistic]


@dataclass(frozen=True, slots=True)
class Replicated:
    """A number and the same without each group of captions."""

    value: float
    replicates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some images of a pass: `Measured` of ``rows`` of the arrays."""

    prompts: Sequence[Prompt]
    arrays: Mapping[str, np.ndarray]

    def column(self, name: str) -> np.ndarray:
        """All entries of an array."""
        return self.arrays[name]

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The same, in one piece."""
        yield self.arrays[name]

    def without(self, left_out: np.ndarray) -> "Rows":
        """The images that are not marked in ``left_out``, (N,) bool."""
        kept = np.flatnonzero(~left_out)
        arrays = {name: array[kept] for name, array in self.arrays.items()}
        return Rows([self.prompts[i] for i in kept.tolist()], arrays)


def groups_of_captions(captions: Sequence[str], groups: int = GROUPS) -> np.ndarray:
    """The group of each image, (N,): captions in a fixed random order, frequent ones first, each to the smallest group.

    Raises:
        ValueError: fewer different captions than groups.
    """
    names, counts = np.unique(np.array(captions), return_counts=True)
    if len(names) < groups:
        raise ValueError(f"{len(names)} different captions, {groups} groups need as many")
    sizes, group = np.zeros(groups, int), {}
    order = np.random.default_rng(0).permutation(len(names))
    for index in order[np.argsort(-counts[order], kind="stable")]:
        smallest = int(sizes.argmin())
        group[str(names[index])] = smallest
        sizes[smallest] += counts[index]
    return np.array([group[caption] for caption in captions])


def replicated(images: Rows, statistic: Statistic) -> Replicated:
    """The number of all images and its replicates."""
    groups = groups_of_captions([str(prompt["caption"]) for prompt in images.prompts])
    left_out = (images.without(groups == group) for group in range(GROUPS))
    return Replicated(statistic(images), tuple(statistic(rest) for rest in left_out))


def mean_of(name: str) -> Statistic:
    """Mean of a value per image, without images that have none."""

    def statistic(images: Measured) -> float:
        values = images.column(name)
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")

    return statistic


def frechet_of(name: str, features: Tensor) -> Statistic:
    """Squared Frechet distance of the features ``name`` to reference features (M, D)."""
    reference = Reference.of(features)

    def statistic(images: Measured) -> float:
        return frechet_distance(reference, reference.sample(torch.from_numpy(images.column(name))))

    return statistic


def kid_of(name: str, features: Tensor) -> Statistic:
    """KID of all features ``name`` to reference features (M, D): squared MMD with the kernel (<x, y> / D + 1)^3.

    Unbiased at any two sizes, so about 0, of either sign, for two sets of one distribution. torchmetrics' formula
    takes both sets to be of one size.
    """
    reference = features.double()
    own = _pairs(reference)

    def statistic(images: Measured) -> float:
        found = torch.from_numpy(images.column(name)).double()
        return own + _pairs(found) - 2 * float(_kernel(reference, found).mean())

    return statistic


def _pairs(features: Tensor) -> float:
    """Mean of the kernel over pairs of different rows."""
    kernel, n = _kernel(features, features), len(features)
    return float(kernel.sum() - kernel.trace()) / (n * (n - 1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    values: Tensor = (x @ y.T / x.shape[1] + 1) ** 3
    return values


def spread_of(name: str) -> Statistic:
    """Mean pairwise cosine distance of the features ``name`` within a caption; one of n images weighs n - 1."""

    def statistic(images: Measured) -> float:
        captions = [str(prompt["caption"]) for prompt in images.prompts]
        sums, sizes = unit_sums(captions, images.blocks(name))
        found = [
            ((n**2 - float(total @ total)) / (n * (n - 1)), n - 1)
            for total, n in zip(sums.values(), sizes.values(), strict=True)
            if n > 1
        ]
        if not found:
            return float("nan")
        distances, weights = np.array(found).T
        return float(weights @ distances / weights.sum())

    return statistic
