"""Rounds of a clock: the ratio of two times against one that is claimed, and the mean of one.

A ratio is that of two times within a round, so that a machine that drifts moves none. Its logarithms over rounds have
Student's t, which keeps its level for three rounds and for many, and is merely cautious where single rounds hang; a
bootstrap of the median covers 74 % at three rounds and 91 % at fifteen (docs/decisions/verdicts.md). A latency by
itself is therefore the geometric mean of its rounds, with the same interval.
"""

import math
from collections.abc import Sequence

import numpy as np

from repro.harness.claims import Compared, Comparison, NoComparison, Verdict
from repro.harness.experiment import Column
from repro.harness.inference import Array, of_differences
from repro.harness.schema import RecordError, Series

SPEED = Column("speedup", "Speed-up", better="higher", digits=2)
FEWEST_ROUNDS = 3  # for a verdict


def compared_times(
    slow: Series | None, fast: Series | None, *, missing: str, ratio: float, margin: float = 0.0
) -> Compared:
    """A claim of speed from the rounds of two rows; ``missing`` says that not both were timed.

    Raises:
        RecordError: the rows have different numbers of rounds.
    """
    if slow is None or fast is None:
        return SPEED, NoComparison(Verdict.NOT_MEASURED, missing)
    rounds = len(slow.values)
    if len(fast.values) != rounds:
        counts = f"{rounds} and {len(fast.values)} rounds of {slow.variant} and {fast.variant}"
        raise RecordError(f"{counts} cannot be paired: times are compared within a round")
    if rounds < FEWEST_ROUNDS:
        reason = f"a verdict takes at least {FEWEST_ROUNDS} rounds, {rounds} were timed"
        return SPEED, NoComparison(Verdict.NOT_MEASURED, reason)
    sides = (np.array(side.values, dtype=float) for side in (slow, fast))
    return SPEED, compared_rounds(*sides, ratio=ratio, margin=margin)


def compared_rounds(slow: Array, fast: Array, *, ratio: float, margin: float = 0.0) -> Comparison:
    """The ratio of two times against the one that is claimed, on logarithms.

    Args:
        slow: seconds, (R,).
        fast: seconds of the same rounds, (R,).
        ratio: how many times as fast it is claimed to be.
        margin: share of the ratio that may be missing, in [0, 1).

    Raises:
        ValueError: fewer than two rounds, or a margin that is no such share.
    """
    if not 0 <= margin < 1:
        raise ValueError(f"the margin of a ratio is a share in [0, 1), got {margin:g}")
    mean, spread = of_differences(np.log(slow / fast) - math.log(ratio))
    return Comparison(
        difference=mean, spread=spread, kind="not_worse", margin=-math.log1p(-margin), ratio=ratio, n=len(slow)
    )


def mean_time(seconds: Sequence[float]) -> tuple[float, tuple[float | None, float | None]]:
    """Geometric mean of the rounds of a row, with the 95 % interval of their logarithms; none of a single round."""
    if len(seconds) < 2:
        return float(seconds[0]), (None, None)
    mean, spread = of_differences(np.log(np.array(seconds, dtype=float)))
    half = spread.half()
    return math.exp(mean), (math.exp(mean - half), math.exp(mean + half))
