"""Paired bootstrap of two rows: of a difference over prompts, and training seeds where several; of times over rounds.

The interval is the 95 % percentile interval of 10,000 resamples. Captions are drawn with replacement, each with all its
images, the same draw for both rows; each row then draws its own training seeds.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from repro.harness.claims import Comparison

Array = NDArray[np.float64]
Counts = NDArray[np.uint16]

RESAMPLES = 10_000
_CHUNK = 500  # resamples held at once: 500 x 2,000 prompts x 8 bytes = 8 MB
_SHARED = 2_000  # draws for at most so many prompts are kept for the next claim: 10,000 x 2,000 x 2 bytes = 40 MB
_SEED = 20250324  # fixed: the same records always give the same interval


def compare(
    candidate: Array,
    baseline: Array,
    *,
    groups: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> tuple[Comparison, float]:
    """Paired hierarchical bootstrap of the difference of two means.

    Args:
        candidate: values, (S, P): training seeds by prompts; higher is better. NaN: the metric does not apply.
        baseline: values, (T, P), of the same prompts in the same order.
        groups: caption of each prompt, (P,): images of one caption are drawn together. Each its own where None.
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        The comparison, without a margin, and the half-width of the baseline's own 95 % interval.

    Raises:
        ValueError: no prompt has a value in every row of both.
    """
    kept = np.isfinite(candidate).all(axis=0) & np.isfinite(baseline).all(axis=0)
    if not kept.any():
        raise ValueError("no prompt has a value on both sides")
    candidate, baseline = candidate[:, kept], baseline[:, kept]
    _, group = np.unique(np.arange(candidate.shape[1]) if groups is None else groups[kept], return_inverse=True)  # (P,)
    sizes = np.bincount(group)  # (G,)
    sums = [_summed(values, group) for values in (candidate, baseline)]
    rng = np.random.default_rng([seed, 1])
    differences, baselines = [], []
    for counts in _draws(len(sizes), resamples, seed):
        weights = counts / (counts @ sizes)[:, None]
        a, b = (_resampled(rng, weights, values) for values in sums)
        differences.append(a - b)
        baselines.append(b)
    low, high = _interval(np.concatenate(differences))
    base_low, base_high = _interval(np.concatenate(baselines))
    comparison = Comparison(
        difference=float(candidate.mean() - baseline.mean()),
        low=low,
        high=high,
        n=int(kept.sum()),
        captions=len(sizes),
        differs=candidate.shape != baseline.shape or bool((candidate != baseline).any()),
    )
    return comparison, (base_high - base_low) / 2


def compare_rounds(slow: Array, fast: Array, *, factor: float = 1.0) -> Comparison:
    """Bootstrap over rounds of the median ratio of two times within a round, less the ratio that is claimed.

    Args:
        slow: seconds, (R,).
        fast: seconds of the same rounds, (R,).
        factor: how many times as fast it is claimed to be.
    """
    ratios = slow / fast
    rng = np.random.default_rng(_SEED)
    drawn = np.median(ratios[rng.integers(0, len(ratios), (RESAMPLES, len(ratios)))], axis=1)
    low, high = _interval(drawn - factor)
    return Comparison(difference=float(np.median(ratios)) - factor, low=low, high=high, n=len(ratios))


def median_interval(values: Array) -> tuple[float, float]:
    """95 % interval of the median of so many rounds, (R,)."""
    drawn = np.random.default_rng(_SEED).integers(0, len(values), (RESAMPLES, len(values)))
    return _interval(np.median(values[drawn], axis=1))


def _summed(values: Array, group: NDArray[np.int64]) -> Array:
    """Values (S, P) summed over the prompts of each group, whose numbers are (P,): (S, G)."""
    return np.stack([np.bincount(group, weights=row) for row in values])


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
