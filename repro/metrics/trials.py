"""One number of any images, with its error, so that it can be compared between sets of images.

It may be a mean, a distance of sets or a spread within a caption. Its error, and that of a difference, comes from one
delete-a-group jackknife over groups of captions (`repro.metrics.jackknife`). All images of a caption are in one group,
and two sets of images of the same prompts have the same groups, so the replicates of a difference are the differences
of the replicates. `SetStatistics` measures such numbers in a pass; a world may have more of them tried (`Trials`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from repro.metrics.base import Estimate, Measured, Metric, Prompt
from repro.metrics.diversity import unit_sums
from repro.metrics.fid import Reference, frechet_distance
from repro.metrics.jackknife import GROUPS, caption_groups, groups_of_captions, jackknife

UNDETERMINED = "These images do not determine it."
VERSION = 1  # raise it when a number of the same arrays has another value

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


def replicated(images: Rows, statistic: Statistic) -> Replicated:
    """The number of all images and its replicates."""
    groups = groups_of_captions([str(prompt["caption"]) for prompt in images.prompts])
    left_out = (images.without(groups == group) for group in range(GROUPS))
    return Replicated(statistic(images), tuple(statistic(rest) for rest in left_out))


class SetStatistics:
    """Numbers of a whole set, each with its jackknife over groups of captions, from arrays that other metrics leave.

    Where there are fewer captions than groups, or a group decides whether there is a number at all, it has neither
    interval nor replicates. The groups follow from the captions of the measured images, so two sets are paired as long
    as no image of either was skipped.

    Args:
        statistics: by record key.
        arrays: names of the arrays that they read.
        reference: what they follow from besides the arrays, such as hashes of reference features.
        key: of the metric.
    """

    def __init__(
        self,
        statistics: Mapping[str, Statistic],
        arrays: Sequence[str],
        *,
        reference: Mapping[str, Any],
        key: str = "set_statistics",
    ) -> None:
        self.key = key
        self._statistics, self._arrays, self._reference = dict(statistics), tuple(arrays), dict(reference)

    def inputs(self) -> dict[str, Any]:
        """The numbers by their keys, their groups, and what they follow from."""
        return {"numbers": sorted(self._statistics), "groups": GROUPS, "reference": self._reference, "version": VERSION}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Nothing of its own."""
        return {}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Every number."""
        images = Rows(measured.prompts, {name: measured.column(name) for name in self._arrays})
        return {key: estimated(images, statistic) for key, statistic in self._statistics.items()}


def estimated(images: Rows, statistic: Statistic) -> Estimate:
    """A number with the interval of its jackknife, as far as the images determine them."""
    n, enough = len(images.prompts), caption_groups(images.prompts) is not None
    found = replicated(images, statistic) if enough else Replicated(statistic(images), ())
    if not np.isfinite(found.value):
        return Estimate(float("nan"), None, None, n, UNDETERMINED)
    if not found.replicates or not np.isfinite(found.replicates).all():
        return Estimate(found.value, None, None, n)
    return jackknife(found.value, found.replicates, n)


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
