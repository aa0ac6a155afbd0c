"""How many rounds fit into a time, for the command of a GPU and for the benchmarks."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.stages.timing import fitting_rounds


@given(seconds=st.floats(1e-6, 1e4), budget=st.floats(0, 1e3), least=st.integers(1, 5), more=st.integers(0, 20))
def test_rounds_fit_into_their_budget_or_are_the_fewest(seconds: float, budget: float, least: int, more: int) -> None:
    rounds = fitting_rounds(seconds, budget, least=least, most=least + more)
    assert least <= rounds <= least + more
    assert rounds == least or rounds * seconds <= budget * (1 + 1e-9)
    assert rounds == least + more or (rounds + 1) * seconds > budget * (1 - 1e-9)


def test_no_round_is_no_number_of_rounds() -> None:
    for least, most in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="rounds are at least 1"):
            fitting_rounds(1.0, 10.0, least=least, most=most)


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import budget

    yield budget
    del sys.modules["budget"]


def config(rounds: int | None) -> Any:
    return SimpleNamespace(getoption=lambda name: rounds)


def test_training_takes_whole_cycles_where_they_fit_and_first_steps_where_not(budget: Any) -> None:
    once = budget.TRAINING / 13
    assert budget.turns(config(None), once, cycle=6, most=2) == (2, 6)
    assert budget.turns(config(None), 2 * once, cycle=6, most=2) == (1, 6)
    assert budget.turns(config(None), 4 * once, cycle=6, most=2) == (1, 3)
    assert budget.turns(config(None), 100 * once, cycle=6, most=2) == (1, 1)


def test_rounds_that_were_asked_for_stand(budget: Any) -> None:
    assert budget.turns(config(15), 1e6, cycle=6, most=2) == (15, 6)
    assert budget.rounds(config(15), 1e6, seconds=1.0, least=1, most=3) == 15
    assert budget.rounds(config(None), 1e6, seconds=1.0, least=1, most=3) == 1
