"""How rates and lengths of the mini students are chosen, and which trials are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.profiles.mini import DISTIL
from repro.table2 import TABLE
from repro.worlds.mini.tune import chosen, is_known, keep, tried

NOISE = np.random.default_rng(0).normal(0, 0.01, 40)


def trial(row: str, lr: float, iterations: int, score: float, spread: float = 0.0) -> dict[str, Any]:
    scores = (score + spread * NOISE).tolist()
    return {"row": row, "lr": lr, "iterations": iterations, "scene_scores": scores}


def test_the_lowest_rate_within_an_error_of_the_best() -> None:
    best = trial("r", 4e-4, 50, 0.90)
    apart = trial("r", 2e-4, 50, 0.8995, spread=1.0)  # its difference has an error of 0.0016
    assert chosen([best, apart]).rates == {"r": 2e-4}
    assert chosen([best, trial("r", 2e-4, 50, 0.8995)]).rates == {"r": 4e-4}  # without any error
    with pytest.raises(ValueError, match="r was not tried for 50 iterations"):
        chosen([trial("r", 4e-4, 25, 0.9)])


def test_the_length_from_which_no_row_gains() -> None:
    slow = [trial("a", 1e-4, count, score) for count, score in ((25, 0.80), (50, 0.81), (100, 0.812))]
    fast = [trial("b", 1e-4, count, score) for count, score in ((25, 0.80), (50, 0.801), (100, 0.79))]
    found = chosen([*slow, *fast])
    assert found.gains[25] == pytest.approx({"a": 0.01, "b": 0.001})
    assert found.iterations == 50
    assert chosen([*slow, *fast[:2]]).iterations is None  # b was not tried for 100


def test_the_profile_has_the_rates_that_the_committed_trials_choose() -> None:
    found = chosen(tried())
    assert found.rates == {"scalewise_4": DISTIL.scalewise["lr"], "fullscale_4": DISTIL.fullscale["lr"]}
    assert found.gains[25]["fullscale_4"] > 0.0033 > found.gains[50]["fullscale_4"]


def test_committed_trials_are_known_and_those_of_other_images_are_not() -> None:
    found = tried()
    row = TABLE.row("scalewise_4")
    assert is_known(row, 3.2e-3, 50, 300, found)
    assert not is_known(row, 3.2e-3, 50, 200, found)
    assert not is_known(row, 3.2e-3, 200, 300, found)
    assert not is_known(row, 3.2e-3, 50, 300, [{**one, "identity": "of another pipeline"} for one in found])


def test_a_trial_replaces_its_own_and_no_other(tmp_path: Path) -> None:
    result = tmp_path / "tuning.json"
    for found in (trial("a", 1e-4, 25, 0.1), trial("b", 1e-4, 25, 0.2), trial("a", 1e-4, 25, 0.3)):
        keep(found, result)
    assert [(one["row"], round(one["scene_scores"][0], 6)) for one in tried(result)] == [("b", 0.2), ("a", 0.3)]
