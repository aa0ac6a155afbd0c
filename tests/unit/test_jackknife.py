"""The jackknife of a number of a set: that of a mean in closed form, and what it refuses."""

import numpy as np
import pytest

from repro.metrics.base import Estimate, mean_estimate
from repro.metrics.jackknife import jackknife


def test_one_image_a_group_gives_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=15)
    without = [float(np.delete(values, index).mean()) for index in range(15)]
    ours, usual = jackknife(float(values.mean()), without, 15), mean_estimate(values)
    assert (ours.value, ours.ci_low, ours.ci_high) == pytest.approx((usual.value, usual.ci_low, usual.ci_high))
    assert ours.replicates == pytest.approx(without)


def test_one_group_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2 replicates, got 1"):
        jackknife(1.0, [1.0], 9)


def test_replicates_that_were_kept_as_json_are_the_same() -> None:
    assert Estimate(1.0, None, None, 3, replicates=[0.5, 1.5]) == Estimate(1.0, None, None, 3, "", (0.5, 1.5))
