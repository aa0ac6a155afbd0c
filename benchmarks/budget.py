"""How many rounds a benchmark takes: as many as were asked for, else as fit into its share of the five minutes.

Whole passes over a busy machine take several times as long as over an idle one: what is fixed here is the time.
"""

from typing import NamedTuple

import pytest

from repro.stages.timing import fitting_rounds

TRAINING, SAMPLING, KERNEL = 45.0, 10.0, 2.0  # seconds of a benchmark's timed calls


def rounds(config: pytest.Config, once: float, *, seconds: float, least: int, most: int) -> int:
    """From the seconds of one round; a number that was asked for stands."""
    asked: int | None = config.getoption("rounds")
    return asked or fitting_rounds(once, seconds, least=least, most=most)


class Turns(NamedTuple):
    """Rounds, and the steps of a cycle that a round has."""

    rounds: int
    steps: int


def turns(config: pytest.Config, once: float, *, cycle: int, most: int) -> Turns:
    """Of training: whole cycles where they were asked for or fit, else one of as many first steps as do.

    Args:
        config: says what was asked for.
        once: seconds of a step of every order.
        cycle: steps of the schedule.
        most: cycles, where more would fit.
    """
    asked: int | None = config.getoption("rounds")
    if asked:
        return Turns(asked, cycle)
    steps = fitting_rounds(once, TRAINING, least=1, most=most * cycle)
    return Turns(steps // cycle, cycle) if steps >= cycle else Turns(1, steps)
