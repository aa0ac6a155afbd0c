"""Means over clustered images: the plain formula where all are alone, copies that add nothing, coverage."""

import numpy as np
import pytest

from repro.metrics.base import mean_estimate, share_estimate
from repro.metrics.clusters import ClusteredMean, clustered_share


def test_alone_it_is_the_usual_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    ours, usual = ClusteredMean.of(values, range(50)).estimate(), mean_estimate(values)
    assert (ours.value, ours.ci_low, ours.ci_high) == pytest.approx((usual.value, usual.ci_low, usual.ci_high))


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_an_image_add_nothing(copies: int) -> None:
    values = np.random.default_rng(1).normal(size=30)
    once = ClusteredMean.of(values, range(30))
    often = ClusteredMean.of(np.repeat(values, copies), np.repeat(np.arange(30), copies).tolist())
    assert (often.value, often.error, often.clusters) == pytest.approx((once.value, once.error, 30))


def test_nan_is_left_out_with_its_cluster() -> None:
    found = ClusteredMean.of(np.array([1.0, np.nan, 3.0]), ["a", "b", "c"])
    assert (found.value, found.n, found.clusters) == (2.0, 2, 2)


def test_one_cluster_has_no_interval() -> None:
    assert ClusteredMean.of(np.array([1.0, 2.0]), ["a", "a"]).estimate().ci_low is None


def test_a_share_of_images_that_stand_alone_is_wilson_s() -> None:
    hits = np.arange(4000) % 5 > 0
    ours, usual = clustered_share(hits, range(4000)), share_estimate(hits)
    assert (ours.value, ours.ci_low, ours.ci_high) == pytest.approx(
        (usual.value, usual.ci_low, usual.ci_high), abs=1e-5
    )


def test_a_share_where_all_are_right_is_worth_its_clusters() -> None:
    """With k of k right Wilson's lower bound is k / (k + z^2), the upper one 1."""
    found = clustered_share(np.ones(60, bool), [index % 10 for index in range(60)])
    assert found.ci_low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert found.ci_high == pytest.approx(1)
    assert found.n == 60


def test_intervals_cover_the_share_of_clustered_draws() -> None:
    rng, covered, naive, trials = np.random.default_rng(5), 0, 0, 600
    for _ in range(trials):
        chances = rng.beta(4.5, 0.5, 80)  # 0.9 on the average: some captions mostly fail
        members = np.repeat(np.arange(80), rng.integers(1, 12, 80))
        hits = rng.random(len(members)) < chances[members]
        ours, plain = clustered_share(hits, members.tolist()), share_estimate(hits)
        covered += ours.ci_low <= 0.9 <= ours.ci_high
        naive += plain.ci_low <= 0.9 <= plain.ci_high
    assert 0.92 <= covered / trials <= 0.98
    assert naive / trials < 0.85


def test_intervals_cover_the_mean_of_clustered_draws() -> None:
    rng, covered, naive, trials = np.random.default_rng(3), 0, 0, 600
    for _ in range(trials):
        sizes = rng.integers(1, 8, 60)
        members = np.repeat(np.arange(60), sizes)
        values = rng.normal(size=60)[members] + rng.normal(size=len(members))
        ours, plain = ClusteredMean.of(values, members.tolist()).estimate(), mean_estimate(values)
        covered += ours.ci_low <= 0 <= ours.ci_high
        naive += plain.ci_low <= 0 <= plain.ci_high
    assert 0.92 <= covered / trials <= 0.975
    assert naive / trials < 0.85


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="3 values but 2 clusters"):
        ClusteredMean.of(np.zeros(3), ["a", "b"])
    with pytest.raises(ValueError, match="none of 2 values is a number"):
        ClusteredMean.of(np.full(2, np.nan), ["a", "b"])
