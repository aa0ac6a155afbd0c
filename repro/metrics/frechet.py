"""FID and FID-infinity of features that a pass left, with intervals, in bounded memory.

Images are dealt to 12 cells, and the features are read once, block by block, into the sums of each cell: 34 MB a cell
at 2048 features. Subsets and jackknife replicates are sums of cells. FID-infinity (Chong and Forsyth, 2020) is the
intercept of FID against 1/N, at N, N/2 and N/3 images; a replicate leaves out one cell, which is in one of the halves
and one of the thirds, so it costs three distances, not six. docs/decisions/fid-streaming.md tells what this costs and
how it compares.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch

from repro.metrics.base import Estimate, Measured, Prompt
from repro.metrics.gaussian import Cell, Gaussian, Moments, Rows, frechet_distance
from repro.metrics.jackknife import jackknife
from repro.metrics.reference import Reference

CELLS = 12
"""Divisible by 2 and 3, so that halves and thirds are whole cells; groups of the jackknife, 11 degrees of freedom."""
SPLITS = (1, 2, 3)
FEWEST_TO_EXTRAPOLATE = 2 * CELLS
CHUNK = 1024
"""Rows of a cell that are buffered before its moments are updated."""


def cells_of(prompts: Sequence[Prompt]) -> np.ndarray:
    """Cell of each image, (N,): images in the order of the hashes of their ids are dealt to 12 cells in turn.

    So cells are of one size, do not follow the order of the set (categories), and two rows of a table that show the
    same prompts have the same cells. A prompt without an id has its index.
    """
    names = [str(prompt.get("id", index)) for index, prompt in enumerate(prompts)]
    order = sorted(range(len(names)), key=lambda index: hashlib.sha256(names[index].encode()).digest())
    cells = np.empty(len(names), dtype=np.int64)
    cells[order] = np.arange(len(names)) % CELLS
    return cells


def collect(blocks: Iterable[np.ndarray], cells: np.ndarray, factor: torch.Tensor) -> list[Cell]:
    """Sum up features, block by block, into the cells that have images.

    Args:
        blocks: features (B, D) in the order of ``cells``.
        cells: cell of each image, (N,).
        factor: of the reference's covariance, (D, k); sums are where it is.

    Raises:
        ValueError: as many features as images are expected.
    """
    waiting: dict[int, list[torch.Tensor]] = {int(cell): [] for cell in np.unique(cells)}
    done: dict[int, Cell] = {}
    start = 0
    for block in blocks:
        kind = Rows if len(cells) < block.shape[1] else Moments
        theirs = cells[start : start + len(block)]
        start += len(block)
        for cell, parts in waiting.items():
            parts.append(torch.from_numpy(block[theirs == cell]))
            if sum(map(len, parts)) >= CHUNK:
                _flush(done, cell, parts, kind, factor)
    if start != len(cells):
        raise ValueError(f"{start} features for {len(cells)} images")
    for cell, parts in waiting.items():
        _flush(done, cell, parts, kind, factor)
    return [done[cell] for cell in sorted(done)]


def _flush(done: dict[int, Cell], cell: int, parts: list[torch.Tensor], kind: type[Cell], factor: torch.Tensor) -> None:
    if not parts:
        return
    rows = torch.cat(parts).to(factor.device).double()
    parts.clear()
    if len(rows):
        found: Any = kind.of(rows, factor)
        done[cell] = done[cell] + found if cell in done else found


Subset = tuple[int, tuple[int, ...]]
"""In how many parts the set was cut, and the cells of one part."""


def subsets_of(num_cells: int, *, extrapolate: bool) -> list[Subset]:
    """The whole, and for FID-infinity halves and thirds of consecutive cells."""
    parts = [(split, part) for split in (SPLITS if extrapolate else (1,)) for part in range(split)]
    return [(split, tuple(range(part * num_cells // split, (part + 1) * num_cells // split))) for split, part in parts]


@dataclass(frozen=True, slots=True)
class Point:
    """Distance of a subset of ``count`` images, one of ``split``."""

    split: int
    count: int
    distance: float


def measure(reference: Gaussian, cells: Sequence[Cell], subset: Subset, *, without: int | None = None) -> Point:
    """Distance of the images of a subset's cells, all or all but one."""
    split, members = subset
    sample = reduce(add, (cells[member] for member in members if member != without))
    return Point(split, sample.count, frechet_distance(reference, sample))


def whole(points: Sequence[Point]) -> float:
    """FID: the distance of the undivided set."""
    return next(point.distance for point in points if point.split == 1)


def limit(points: Sequence[Point]) -> float:
    """FID-infinity: intercept of a line through the mean distances at N, N/2 and N/3 against 1/N.

    Each size takes every image once. FID is linear in 1/N only where images outnumber the directions that carry
    variance; below that it bends downwards, and the intercept removes a good part of the bias, not all.
    """
    by_split = [[point for point in points if point.split == split] for split in SPLITS]
    inverse = [float(np.mean([1 / point.count for point in group])) for group in by_split]
    distances = [float(np.mean([point.distance for point in group])) for group in by_split]
    return float(np.polyfit(inverse, distances, deg=1)[1])


def replicates(
    reference: Gaussian, cells: Sequence[Cell], subsets: Sequence[Subset], points: Sequence[Point]
) -> list[list[Point]]:
    """The points without each cell in turn; subsets that never had it are not measured again."""
    return [
        [
            measure(reference, cells, subset, without=cell) if cell in subset[1] else point
            for subset, point in zip(subsets, points, strict=True)
        ]
        for cell in range(len(cells))
    ]


class Fid:
    """FID and FID-infinity against a reference, from features that a pass left.

    Args:
        reference: of the same features.
        key: record key of the distance; FID-infinity is ``<key>_inf``, left out below 24 images.
        device: where matrices are decomposed, in float64.
    """

    def __init__(self, reference: Reference, *, key: str = "fid", device: str | torch.device = "cpu") -> None:
        self.key = key
        self._reference, self._device = reference, device
        self._gaussian: Gaussian | None = None

    def inputs(self) -> Mapping[str, Any]:
        """What the distance follows from besides the features."""
        return {"formula": "Frechet distance", "cells": CELLS, "reference": self._reference.inputs()}

    def estimates(self, measured: Measured, name: str) -> dict[str, Estimate]:
        """Distance of the features ``name`` to the reference, with jackknife intervals.

        Raises:
            ValueError: fewer than two images, or features of another dimension than the reference.
        """
        n = len(measured.prompts)
        if n < 2:
            raise ValueError(f"{self.key} needs at least 2 images, got {n}")
        if remark := self._remark(n):
            logging.getLogger(__name__).info("%s: %s", self.key, remark)
        self._gaussian = self._gaussian or Gaussian.of(self._reference, self._device)
        cells = collect(
            self._reference.checked(measured.blocks(name)), cells_of(measured.prompts), self._gaussian.factor
        )
        subsets = subsets_of(len(cells), extrapolate=n >= FEWEST_TO_EXTRAPOLATE)
        points = [measure(self._gaussian, cells, subset) for subset in subsets]
        theirs = replicates(self._gaussian, cells, subsets, points) if n >= 4 else []
        statistics = {self.key: whole} | ({f"{self.key}_inf": limit} if n >= FEWEST_TO_EXTRAPOLATE else {})
        found = {
            key: jackknife(statistic(points), [statistic(replicate) for replicate in theirs], n)
            if theirs
            else Estimate(statistic(points), None, None, n)
            for key, statistic in statistics.items()
        }
        return {key: replace(value, note=remark) for key, value in found.items()}

    def paired(self, measured: Measured, name: str, cells: np.ndarray) -> tuple[Estimate, list[float]]:
        """The distance, and the distances without each cell of images in turn.

        Sets of images of the same prompts that are given the same cells can be compared by a paired jackknife.

        Args:
            measured: what a pass left.
            name: of the features.
            cells: of each image, (N,), as `cells_of` deals them.

        Raises:
            ValueError: fewer than four images, which have no interval, or features of another dimension.
        """
        n = len(measured.prompts)
        if n < 4:
            raise ValueError(f"{self.key} with an interval needs at least 4 images, got {n}")
        self._gaussian = self._gaussian or Gaussian.of(self._reference, self._device)
        found = collect(self._reference.checked(measured.blocks(name)), cells, self._gaussian.factor)
        subsets = subsets_of(len(found), extrapolate=False)
        points = [measure(self._gaussian, found, subset) for subset in subsets]
        theirs = [whole(replicate) for replicate in replicates(self._gaussian, found, subsets, points)]
        return replace(jackknife(whole(points), theirs, n), note=self._remark(n)), theirs

    def _remark(self, n: int) -> str:
        return few_images(n, len(self._reference.mean)) or ""


def few_images(count: int, dimensions: int) -> str | None:
    """What a reader must know of a covariance without full rank; None where there is nothing to say."""
    if count > dimensions:
        return None
    return (
        f"{count} images for {dimensions} features: the covariance has rank {count - 1} at most, so the distance is "
        "far above its limit for many images and compares only sets of this very size"
    )
