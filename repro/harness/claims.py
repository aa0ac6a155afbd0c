"""Tests the paper's claims on our records: paired bootstrap over prompts, and over training seeds where several.

A claim compares a candidate row with a baseline row in one metric. The difference d of the two means is oriented so
that positive favours the candidate, and has a 95 % percentile interval [low, high] from 10,000 resamples. Captions are
drawn with replacement, each with all its images, the same draw for both rows; each row then draws its own training
seeds. With h the half-width of the baseline's own 95 % interval, the verdict is

    at least as good:  reproduced if low >= 0,   not reproduced if high < 0,  else inconclusive
    not worse:         reproduced if low >= -h,  not reproduced if high < -h, else inconclusive

Two rows that agree on every single image decide nothing: inconclusive.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from repro.harness.experiment import Check, Claim, Column, Profile, Table
from repro.harness.schema import CAPTIONS, RecordError, RecordSet

Array = NDArray[np.float64]
Counts = NDArray[np.uint16]

RESAMPLES = 10_000
_CHUNK = 500  # resamples held at once: 500 x 2,000 prompts x 8 bytes = 8 MB
_SHARED = 2_000  # draws for at most so many prompts are kept for the next claim: 10,000 x 2,000 x 2 bytes = 40 MB
_SEED = 20250324  # fixed: the same records always give the same interval


class Verdict(StrEnum):
    """Outcome of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate minus baseline, oriented so that positive favours the candidate, in the unit of the records.

    ``margin`` is the half-width of the baseline's own 95 % interval, ``n`` the number of paired images, ``captions``
    that of different captions among them. ``differs`` is False where the two agree on every image.
    """

    difference: float
    low: float
    high: float
    margin: float
    n: int
    captions: int
    differs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A claim with its verdict. Without a comparison the verdict is NOT_MEASURED and ``reason`` says why."""

    claim: Claim
    column: Column
    verdict: Verdict
    comparison: Comparison | None = None
    reason: str = ""


def judge_all(table: Table, profile: Profile, records: RecordSet) -> list[Judgement]:
    """Judge the claims of a table that name a metric of this profile, in the order of the table."""
    return [
        judge(claim, column, table, profile, records)
        for claim in table.claims
        if (column := profile.column(claim.check.metric)) is not None
    ]


def judge(claim: Claim, column: Column, table: Table, profile: Profile, records: RecordSet) -> Judgement:
    """Test one claim.

    Raises:
        RecordError: the two rows have per-image values of different prompts.
    """
    check = claim.check
    sets = check.prompts or tuple(prompts.key for prompts in profile.prompt_sets)
    sides = [_pooled(records, table.row(row).variant, sets, check.metric) for row in (check.candidate, check.baseline)]
    for row, side in zip((check.candidate, check.baseline), sides, strict=True):
        if side is None:
            reason = f"no per-image values of {check.metric} for {row}"
            return Judgement(claim=claim, column=column, verdict=Verdict.NOT_MEASURED, reason=reason)
    candidate, baseline = (column.sign * side for side in sides if side is not None)
    if candidate.shape[1] != baseline.shape[1]:
        counts = f"{candidate.shape[1]} and {baseline.shape[1]}"
        raise RecordError(f"claim {claim.key}: {counts} per-image values of {check.metric} cannot be paired")
    comparison = compare(candidate, baseline, groups=_captions(records, sets))
    return Judgement(claim=claim, column=column, verdict=verdict(check, comparison), comparison=comparison)


def verdict(check: Check, comparison: Comparison) -> Verdict:
    """The rule at the head of this module."""
    low, high = comparison.low, comparison.high
    if not comparison.differs:
        return Verdict.INCONCLUSIVE
    bound = 0.0 if check.kind == "at_least" else -comparison.margin
    holds, fails = low >= bound, high < bound
    return Verdict.REPRODUCED if holds else Verdict.NOT_REPRODUCED if fails else Verdict.INCONCLUSIVE


def compare(
    candidate: Array,
    baseline: Array,
    *,
    groups: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> Comparison:
    """Paired hierarchical bootstrap of the difference of two means.

    Args:
        candidate: values, (S, P): training seeds by prompts; higher is better. NaN: the metric does not apply.
        baseline: values, (T, P), of the same prompts in the same order.
        groups: caption of each prompt, (P,): images of one caption are drawn together. Each its own where None.
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Raises:
        ValueError: no prompt has a value in every row of both.
    """
    kept = np.isfinite(candidate).all(axis=0) & np.isfinite(baseline).all(axis=0)
    if not kept.any():
        raise ValueError("no prompt has a value on both sides")
    candidate, baseline = candidate[:, kept], baseline[:, kept]
    member = _membership(np.arange(candidate.shape[1]) if groups is None else groups[kept])  # (P, G)
    sizes = member.sum(axis=0)
    rng = np.random.default_rng([seed, 1])
    differences, baselines = [], []
    for counts in _draws(len(sizes), resamples, seed):
        weights = counts / (counts @ sizes)[:, None]
        a, b = _resampled(rng, weights, candidate @ member), _resampled(rng, weights, baseline @ member)
        differences.append(a - b)
        baselines.append(b)
    low, high = _interval(np.concatenate(differences))
    base_low, base_high = _interval(np.concatenate(baselines))
    return Comparison(
        difference=float(candidate.mean() - baseline.mean()),
        low=low,
        high=high,
        margin=(base_high - base_low) / 2,
        n=int(kept.sum()),
        captions=len(sizes),
        differs=candidate.shape != baseline.shape or bool((candidate != baseline).any()),
    )


def _membership(groups: NDArray[np.int64]) -> Array:
    """One column per group, 1 where a prompt belongs to it: (P, G)."""
    _, index = np.unique(groups, return_inverse=True)
    return np.eye(int(index.max()) + 1)[index]


def _draws(prompts: int, resamples: int, seed: int) -> Iterable[Counts]:
    """How often each prompt is drawn: chunks (R, P) with rows that sum to P. Many claims share one draw."""
    return _shared(prompts, resamples, seed) if prompts <= _SHARED else _drawn(prompts, resamples, seed)


@lru_cache(maxsize=4)
def _shared(prompts: int, resamples: int, seed: int) -> tuple[Counts, ...]:
    return tuple(_drawn(prompts, resamples, seed))


def _drawn(prompts: int, resamples: int, seed: int) -> Iterator[Counts]:
    rng = np.random.default_rng([seed, 0])
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, prompts, size=(rows, prompts), dtype=np.int64)
        drawn += prompts * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * prompts).reshape(rows, prompts).astype(np.uint16)


def _resampled(rng: np.random.Generator, weights: Array, values: Array) -> Array:
    """Mean under each prompt draw, over a fresh draw of training seeds: (chunk,)."""
    means: Array = weights @ values.T  # (chunk, S)
    if means.shape[1] > 1:
        means = np.take_along_axis(means, rng.integers(0, means.shape[1], size=means.shape), axis=1)
    resampled: Array = means.mean(axis=1)
    return resampled


def _interval(samples: Array) -> tuple[float, float]:
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def _pooled(records: RecordSet, variant: str, sets: Sequence[str], metric: str) -> Array | None:
    """Per-image values of all prompt sets side by side, (S, P); None where a set has none."""
    blocks = [_block(records, variant, prompts, metric) for prompts in sets]
    found = [block for block in blocks if block is not None]
    if len(found) < len(blocks):
        return None
    if len({len(block) for block in found}) > 1:
        raise RecordError(f"{variant}: prompt sets were measured with different training seeds ({metric})")
    return np.concatenate(found, axis=1)


def _captions(records: RecordSet, sets: Sequence[str]) -> NDArray[np.int64] | None:
    """Caption of every image of the pooled sets, numbered apart from set to set; None where they were not recorded."""
    lines = [records.values(CAPTIONS, prompts, CAPTIONS) for prompts in sets]
    if not all(lines):
        return None
    pairs = [(place, value) for place, found in enumerate(lines) for value in found[0].values]
    _, numbers = np.unique(np.array(pairs, dtype=float), axis=0, return_inverse=True)
    return numbers.reshape(-1)


def _block(records: RecordSet, variant: str, prompts: str, metric: str) -> Array | None:
    per_seed = records.values(variant, prompts, metric)
    if not per_seed:
        return None
    if len({len(line.values) for line in per_seed}) > 1:
        raise RecordError(f"{variant} {prompts} {metric}: training seeds have different numbers of images")
    return np.array([[np.nan if value is None else value for value in line.values] for line in per_seed], dtype=float)
