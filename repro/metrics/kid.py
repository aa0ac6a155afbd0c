"""KID (Binkowski et al., 2018): unbiased squared MMD of two feature sets under the kernel (x . y / D + 1)^3.

As torchmetrics and torch-fidelity measure it: the mean over 100 pairs of random subsets of 1,000 images. The formula is
torchmetrics', in float64; so are the subsets of one seed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from repro.metrics.base import Estimate, Measured, t_quantile
from repro.metrics.reference import Reference

SUBSETS = 100
SUBSET_SIZE = 1000
TOGETHER = 8
"""Subsets whose features are in memory at once: 131 MB at 2048 features."""


def draw_subsets(
    num_real: int, num_fake: int, *, size: int, subsets: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of each pair of subsets, drawn as torchmetrics draws them from a seeded torch."""
    rng = torch.Generator().manual_seed(seed)
    for _ in range(subsets):
        real = torch.randperm(num_real, generator=rng)[:size]
        yield real, torch.randperm(num_fake, generator=rng)[:size]


def gather(blocks: Iterable[np.ndarray], rows: Tensor) -> Tensor:
    """Features (len(rows), D) of these rows, in float64, in one pass over the blocks."""
    wanted, place = torch.unique(rows, return_inverse=True)
    found, start = [], 0
    for block in blocks:
        inside = wanted[(wanted >= start) & (wanted < start + len(block))] - start
        found.append(block[inside.numpy()])
        start += len(block)
    return torch.from_numpy(np.concatenate(found)).double()[place]


class Kid:
    """KID of features that a pass left, against the features of real images.

    The interval is Student's t over as many subsets as the smaller set has disjoint ones: s / sqrt(k) of the k subset
    values; overlapping subsets add no information. Both draws, of generated and of real images, are in it. Sets
    smaller than a subset make one subset of what there is (the estimator is unbiased at any size) and have no
    interval.

    Args:
        reference: with features.
        key: record key.
        subsets: pairs of subsets.
        size: images in a subset.
        seed: of the subsets.
    """

    def __init__(
        self, reference: Reference, *, key: str = "kid", subsets: int = SUBSETS, size: int = SUBSET_SIZE, seed: int = 0
    ) -> None:
        if subsets < 1 or size < 2:
            raise ValueError(f"KID needs at least 1 subset of 2 images, got {subsets} of {size}")
        self.key = key
        self._reference, self._real = reference, reference.needed_features(key)
        self._subsets, self._size, self._seed = subsets, size, seed

    def inputs(self) -> Mapping[str, Any]:
        """What the distance follows from besides the features."""
        choice = {"subsets": self._subsets, "size": self._size, "seed": self._seed}
        return {"formula": "polynomial MMD of degree 3", **choice, "reference": self._reference.inputs()}

    def estimates(self, measured: Measured, name: str) -> dict[str, Estimate]:
        """Mean over pairs of subsets.

        Raises:
            ValueError: fewer than two images.
        """
        n, num_real = len(measured.prompts), len(self._real)
        size = min(self._size, n, num_real)
        if size < 2:
            raise ValueError(f"{self.key} needs at least 2 images on each side, got {n} and {num_real} real ones")
        pairs = list(draw_subsets(num_real, n, size=size, subsets=self._subsets, seed=self._seed))
        values = np.concatenate(
            [self._distances(measured, name, pairs[i : i + TOGETHER]) for i in range(0, len(pairs), TOGETHER)]
        )
        mean, disjoint = float(values.mean()), min(n, num_real) // size
        if disjoint < 2 or len(values) < 2:
            return {self.key: Estimate(mean, None, None, n)}
        half = t_quantile(disjoint - 1) * float(values.std(ddof=1)) / disjoint**0.5
        return {self.key: Estimate(mean, mean - half, mean + half, n)}

    def _distances(self, measured: Measured, name: str, pairs: Sequence[tuple[Tensor, Tensor]]) -> np.ndarray:
        blocks = self._reference.checked(measured.blocks(name))
        fakes = gather(blocks, torch.cat([fake for _, fake in pairs])).chunk(len(pairs))
        reals = (torch.from_numpy(self._real[real.numpy()]).double() for real, _ in pairs)
        return np.array([float(poly_mmd(real, fake)) for real, fake in zip(reals, fakes, strict=True)])
