"""Spreads over training seeds and captions: closed forms, parity with the analysis of variance, bad input."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from repro.harness.inference import (
    Effects,
    Part,
    Spread,
    averaged,
    clustered_error,
    difference,
    of_differences,
    of_images,
    of_replicates,
)

Array = NDArray[np.float64]


def normal(seed: int, shape: tuple[int, ...], mean: float = 0.0) -> Array:
    return np.random.default_rng(seed).normal(mean, 1.0, shape)


def of(values: Array, groups: Array | None = None) -> Effects:
    return of_images(values, np.arange(values.shape[1]) if groups is None else groups, range(len(values)))


# one source


def test_of_one_seed_and_single_images_it_is_students_t() -> None:
    values = normal(0, (1, 40), 0.3)
    spread, usual = of(values).spread(), stats.ttest_1samp(values[0], 0.0, alternative="greater")
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values[0]))
    assert of(values).value - spread.half() == pytest.approx(low)
    assert of(values).value + spread.half() == pytest.approx(high)
    assert spread.p_above(of(values).value) == pytest.approx(usual.pvalue)
    assert spread.p_above(-of(values).value) == pytest.approx(1 - usual.pvalue)


def test_images_of_one_caption_count_once() -> None:
    once = normal(1, (1, 30))
    often = of(np.repeat(once, 5, axis=1), np.repeat(np.arange(30), 5))
    assert often.spread().error == pytest.approx(of(once).spread().error)
    assert (often.n, often.groups, often.df) == (150, 30, 29)


def test_a_jackknife_of_means_is_the_spread_of_the_mean() -> None:
    values = normal(2, (3, 60))
    without = np.stack([np.delete(values, group, axis=1).mean(axis=1) for group in range(60)], axis=1)
    jackknifed = of_replicates(values.mean(axis=1), without, range(3), 60)
    plain = of(values)
    assert jackknifed.of_groups == pytest.approx(plain.of_groups)
    assert jackknifed.of_seeds == pytest.approx(plain.of_seeds)


def test_rounds_have_students_t() -> None:
    values = normal(3, (9,))
    mean, spread = of_differences(values)
    assert (mean, spread.half()) == pytest.approx((values.mean(), stats.t.ppf(0.975, 8) * stats.sem(values)))


# two sources


def test_variances_are_those_of_the_two_way_analysis_of_variance() -> None:
    values = normal(4, (5, 1)) + normal(5, (1, 80)) + 0.5 * normal(6, (5, 80))
    seeds, groups = values.shape
    row, column, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    of_row = groups * np.square(row - mean).sum() / (seeds - 1)
    of_column = seeds * np.square(column - mean).sum() / (groups - 1)
    rest = np.square(values - row[:, None] - column + mean).sum() / ((seeds - 1) * (groups - 1))
    found = of(values)
    assert found.of_groups == pytest.approx(of_column / values.size)
    assert found.of_seeds == pytest.approx((of_row - rest) / values.size)
    assert found.spread().error == pytest.approx(((of_row + of_column - rest) / values.size) ** 0.5)


def test_seeds_that_differ_by_no_more_than_chance_add_nothing() -> None:
    values = np.tile(normal(7, (1, 50)), (4, 1))
    assert of(values).of_seeds == 0
    assert of(values).spread().half() == pytest.approx(of(values[:1]).spread().half())


def test_captions_that_do_not_matter_leave_the_t_of_the_seeds() -> None:
    levels = normal(8, (5, 1))
    spread = of(np.repeat(levels, 30, axis=1)).spread()
    assert spread.half() == pytest.approx(stats.t.ppf(0.975, 4) * stats.sem(levels[:, 0]))
    assert spread.p_above(1.0) == pytest.approx(stats.t.sf(1.0 / stats.sem(levels[:, 0]), 4))


def test_cochrans_quantile_lies_between_those_of_its_parts_and_p_inverts_it() -> None:
    spread = Spread((Part(0.5, 300.0), Part(0.5, 2.0)))
    few, many = stats.t.ppf(0.975, [2, 300])
    assert many < spread.half() / spread.error < few
    assert spread.half() == pytest.approx(np.hypot(few, many) * 0.5**0.5)
    for tail in (0.4, 0.025, 1e-5):
        assert spread.p_above(spread.half(tail)) == pytest.approx(tail, rel=1e-6)
        assert spread.p_above(-spread.half(tail)) == pytest.approx(1 - tail, rel=1e-6)


def test_p_falls_as_the_excess_rises_far_into_the_tails() -> None:
    spread = Spread((Part(0.3, 600.0), Part(0.7, 4.0)))
    found = [spread.p_above(excess) for excess in (-50, -3, -1, 0, 1, 3, 50, 1e4)]
    assert found == sorted(found, reverse=True)
    assert found[3] == 0.5
    assert 0 < found[-1] < 1e-9


def test_without_any_spread_only_the_sign_counts() -> None:
    nothing = Spread((Part(0.0, 5.0),))
    assert [nothing.p_above(excess) for excess in (1, 0, -1)] == [0, 0.5, 1]


# differences


def test_pairing_removes_what_captions_and_seeds_share() -> None:
    shared = 10 * normal(9, (4, 100)) + 10 * normal(10, (4, 1))
    noise = 0.1 * normal(11, (4, 100))
    gap, spread = difference(of(shared + noise), of(shared))
    assert gap == pytest.approx(noise.mean())
    assert spread.half() == pytest.approx(of(noise).spread().half())


def test_a_row_without_seeds_is_the_same_for_all() -> None:
    student, teacher = normal(12, (5, 60)), normal(13, (1, 60))
    gap, spread = difference(of(student), of(teacher))
    assert (gap, spread) == (pytest.approx((student - teacher).mean()), of(student - teacher).spread())


def test_other_seeds_on_the_two_sides_add_their_variances() -> None:
    first = of(normal(14, (3, 1)) + np.zeros((3, 40)))
    values = normal(15, (4, 1)) + np.zeros((4, 40))
    second = of_images(values, np.arange(40), (5, 6, 7, 8))
    _, spread = difference(first, second)
    variances = first.values.var(ddof=1) / 3 + second.values.var(ddof=1) / 4
    assert spread.error == pytest.approx(variances**0.5)
    assert [part.df for part in spread.parts] == [39, 2, 3]


def test_sets_of_prompts_add_independent_variances() -> None:
    parts = [of(normal(16 + place, (1, 50)), np.arange(50)) for place in range(2)]
    both = averaged(parts)
    assert both.value == pytest.approx(np.mean([part.value for part in parts]))
    assert both.of_groups == pytest.approx(sum(part.of_groups for part in parts) / 4)
    assert both.df == pytest.approx(2 * 49, rel=0.1)
    assert (both.n, both.groups) == (100, 100)


def test_images_without_a_value_are_left_out_seed_by_seed() -> None:
    values = normal(18, (2, 30))
    values[0, :10], values[1, 5:] = np.nan, np.nan
    found = of(values)
    assert found.values == pytest.approx(np.nanmean(values, axis=1))
    assert found.n == 5


def test_a_seed_may_be_picked() -> None:
    values = normal(19, (3, 20))
    found = of_images(values, np.arange(20), (4, 5, 6)).among((6, 4))
    assert found.values == pytest.approx(values[[2, 0]].mean(axis=1))
    assert found.seeds == (6, 4)


def test_as_many_prompts_as_the_paper_has_fit_in_memory() -> None:
    values = normal(20, (1, 60_000))
    tracemalloc.start()
    found = of(values, np.arange(60_000) // 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e7
    assert found.spread().half() == pytest.approx(1.96 / 60_000**0.5, rel=0.02)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="none of 3 images has a value"):
        of(np.full((1, 3), np.nan))
    with pytest.raises(ValueError, match="4 images of one caption, a variance takes at least 2 captions"):
        of(np.ones((2, 4)), np.zeros(4))
    with pytest.raises(ValueError, match="1 group of a jackknife"):
        of_replicates(np.ones(1), np.ones((1, 1)), (0,), 5)
    with pytest.raises(ValueError, match="40 and 30 groups of images cannot be paired"):
        difference(of(normal(0, (1, 40))), of(normal(0, (1, 30))))
    with pytest.raises(ValueError, match="prompt sets of different training seeds"):
        averaged([of(normal(0, (1, 9))), of(normal(0, (2, 9)))])
    with pytest.raises(ValueError, match="1 value, a variance takes at least 2"):
        of_differences(np.ones(1))


def test_the_error_of_a_clustered_mean() -> None:
    values, clusters = normal(21, (24,)), np.repeat(np.arange(8), 3)
    sums = np.bincount(clusters, weights=values - values.mean())
    assert clustered_error(values, clusters) == pytest.approx((8 / 7 * np.square(sums).sum()) ** 0.5 / 24)
    assert clustered_error(values, np.zeros(24)) is None
