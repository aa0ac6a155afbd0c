"""How sure a mean over training seeds and captions is: two crossed sources of variance, Student's t for each.

Seeds s = 1..S and groups of images g = 1..G (captions, or the groups of a jackknife) are both drawn at random, and
every seed sees every group. Let t_s be the value of seed s and u_sg what group g contributes to it, scaled so that
the sum of squares over g estimates the variance of t_s over groups:

    mean of n images   u_sg = sqrt(G / (G - 1)) / n  sum_{i in g} (x_si - t_s)         (Liang and Zeger, 1986)
    jackknife          u_sg = sqrt((G - 1) / G) (t_s without g - mean of these)        (delete a group)

For the mean over seeds, t = mean_s t_s, multiway clustering (Cameron, Gelbach and Miller, 2011) is here, as in a
two-way analysis of variance,

    V_seed = var_s(t_s) / S,   V_group = sum_g (mean_s u_sg)^2,
    V_both = (mean_s sum_g u_sg^2 - V_group) / (S - 1),         what seed and group only have together,
    V = V_group + max(V_seed - V_both, 0).

V_seed has S - 1 degrees of freedom and V_group about G - 1, so the quantile of V is Cochran's (1964): a half-width h
has

    h(p)^2 = t_{S-1}(p)^2 max(V_seed - V_both, 0) + t_{G-1}(p)^2 V_group.

Satterthwaite's degrees of freedom were tried and cover too little where the seeds dominate; numbers:
docs/decisions/verdicts.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

Array = NDArray[np.float64]

TAIL = 0.025
"""Of each side of an interval."""
FINEST = 1e-300
"""No p is told from a smaller one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A source of variance, estimated with so many degrees of freedom."""

    variance: float
    df: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Of an estimate: its sources of variance."""

    parts: tuple[Part, ...]

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(sum(part.variance for part in self.parts))

    def half(self, tail: float = TAIL) -> float:
        """Cochran's quantile of the deviation, which one side exceeds with probability ``tail``: an interval's half."""
        return math.sqrt(sum(float(stdtrit(part.df, tail)) ** 2 * part.variance for part in self.parts))

    def p_above(self, excess: float) -> float:
        """One-sided p of the hypothesis that what is estimated to be ``excess`` is not above 0."""
        if self.error == 0:
            return 0.5 if excess == 0 else float(excess < 0)
        z = abs(excess) / self.error
        alone = [float(stdtr(part.df, -z)) for part in self.parts if part.variance > 0]
        tail = self._between(abs(excess), max(min(alone), FINEST), max(*alone, FINEST))
        return tail if excess > 0 else 1 - tail

    def _between(self, deviation: float, low: float, high: float) -> float:
        """The p whose quantile is a deviation; that of every source alone lies on one of its sides."""

        def gap(log: float) -> float:
            return self.half(math.exp(log)) - deviation

        ends = math.log(low), math.log(high)
        if gap(ends[0]) <= 0 or gap(ends[1]) >= 0:  # they are one, up to rounding
            return low if gap(ends[0]) <= 0 else high
        return math.exp(brentq(gap, *ends))


@dataclass(frozen=True, kw_only=True)
class Effects:
    """A number for each training seed, and what each group of images contributes to it.

    Args:
        values: t_s, (S,).
        shares: u_sg, (S, G).
        df: degrees of freedom of the groups.
        seeds: training seeds, (S,).
        n: images of each seed.
        groups: different captions, or groups of a jackknife.
    """

    values: Array
    shares: Array
    df: float
    seeds: tuple[int, ...]
    n: int
    groups: int

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(self.values.mean())

    @property
    def of_seeds(self) -> float:
        """Variance that seeds add to that of the groups; 0 for one seed."""
        if len(self.values) == 1:
            return 0.0
        both = (np.square(self.shares).sum(axis=1).mean() - self.of_groups) / (len(self.values) - 1)
        return max(float(self.values.var(ddof=1)) / len(self.values) - float(both), 0.0)

    @property
    def of_groups(self) -> float:
        """Variance over groups of the mean over seeds."""
        return float(np.square(self.shares.mean(axis=0)).sum())

    def spread(self) -> Spread:
        """Of the mean over seeds; that of one seed is over groups alone."""
        return Spread((Part(self.of_groups, self.df), *_seed_part(self)))

    def among(self, seeds: Sequence[int]) -> "Effects":
        """Of these seeds alone."""
        kept = [self.seeds.index(seed) for seed in seeds]
        return replace(self, values=self.values[kept], shares=self.shares[kept], seeds=tuple(seeds))


def of_images(values: Array, groups: NDArray[np.int64], seeds: Sequence[int]) -> Effects:
    """Of means over images, of each seed over those that have a value.

    Args:
        values: a value per image, (S, P); NaN where there is none.
        groups: caption of each image, (P,).
        seeds: training seeds, (S,).

    Raises:
        ValueError: a seed has no value at all, or all values are of images of one caption.
    """
    known = np.isfinite(values)
    counts = known.sum(axis=1, keepdims=True)
    if not counts.all():
        raise ValueError(f"none of {values.shape[1]} images has a value")
    _, place = np.unique(groups, return_inverse=True)
    size = len(np.unique(place[known.any(axis=0)]))
    if size < 2:
        raise ValueError(f"{counts.max()} images of one caption, a variance takes at least 2 captions")
    means = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / counts
    centred = np.where(known, values - means, 0.0) / counts
    sums = np.stack([np.bincount(place, weights=row) for row in centred])
    shares = (math.sqrt(size / (size - 1)) * sums).astype(np.float64)
    n = int(counts.min())
    return Effects(values=means[:, 0], shares=shares, df=size - 1, seeds=tuple(seeds), n=n, groups=size)


def of_replicates(values: Array, replicates: Array, seeds: Sequence[int], n: int) -> Effects:
    """Of numbers of whole sets, from a delete-a-group jackknife.

    Args:
        values: of all images, (S,).
        replicates: the same without each group in turn, (S, G).
        seeds: training seeds, (S,).
        n: images of each seed.

    Raises:
        ValueError: fewer than 2 groups.
    """
    groups = replicates.shape[1]
    if groups < 2:
        raise ValueError(f"{groups} group of a jackknife, a variance takes at least 2")
    shares = math.sqrt((groups - 1) / groups) * (replicates - replicates.mean(axis=1, keepdims=True))
    return Effects(values=values, shares=shares, df=groups - 1, seeds=tuple(seeds), n=n, groups=groups)


def averaged(sets: Sequence[Effects]) -> Effects:
    """Mean over sets of prompts, which are fixed: their groups add independent variances.

    Raises:
        ValueError: the sets were measured with different training seeds.
    """
    if len({found.seeds for found in sets}) > 1:
        raise ValueError(f"prompt sets of different training seeds: {sorted({found.seeds for found in sets})}")
    variances = [found.of_groups for found in sets]
    total = sum(variances)
    df = sum(found.df for found in sets)
    if total > 0:  # Satterthwaite's, which is exact enough for the many groups of captions
        df = total**2 / sum(v**2 / found.df for v, found in zip(variances, sets, strict=True))
    return Effects(
        values=np.mean([found.values for found in sets], axis=0),
        shares=np.concatenate([found.shares for found in sets], axis=1) / len(sets),
        df=df,
        seeds=sets[0].seeds,
        n=sum(found.n for found in sets),
        groups=sum(found.groups for found in sets),
    )


def difference(candidate: Effects, baseline: Effects) -> tuple[float, Spread]:
    """Candidate minus baseline, of the same groups of images, with its spread.

    Sides of the same training seeds are paired by seed; a side of one seed is constant over those of the other; else
    seeds are independent and their variances add.

    Raises:
        ValueError: the two sides have different groups.
    """
    if candidate.shares.shape[1] != baseline.shares.shape[1]:
        counts = f"{candidate.shares.shape[1]} and {baseline.shares.shape[1]}"
        raise ValueError(f"{counts} groups of images cannot be paired")
    df = min(candidate.df, baseline.df)
    if candidate.seeds == baseline.seeds or 1 in {len(candidate.seeds), len(baseline.seeds)}:
        values, shares = candidate.values - baseline.values, candidate.shares - baseline.shares
        seeds = max(candidate.seeds, baseline.seeds, key=len)
        paired = replace(candidate, values=values, shares=shares, df=df, seeds=seeds)
        return paired.value, paired.spread()
    shares = candidate.shares.mean(axis=0) - baseline.shares.mean(axis=0)
    parts = (Part(float(np.square(shares).sum()), df), *_seed_part(candidate), *_seed_part(baseline))
    return candidate.value - baseline.value, Spread(parts)


def of_differences(values: Array) -> tuple[float, Spread]:
    """Mean of independent values, (N,), with Student's t: log ratios of two times within each round of a clock.

    Raises:
        ValueError: fewer than two.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} value, a variance takes at least 2")
    return float(values.mean()), Spread((Part(float(values.var(ddof=1)) / len(values), len(values) - 1),))


def clustered_error(values: Array, clusters: NDArray[np.int64]) -> float | None:
    """Standard error of the mean of values, (N,), of which those of one cluster belong together; None for one."""
    if len(np.unique(clusters)) < 2:
        return None
    return of_images(values[None, :], clusters, (0,)).spread().error


def _seed_part(effects: Effects) -> tuple[Part, ...]:
    count = len(effects.values)
    return (Part(effects.of_seeds, count - 1),) if count > 1 else ()
