"""Table 3 without a clock: protocols, and claims tested on rounds that are made up."""

from dataclasses import replace
from typing import Any

import pytest
from harness_world import RUN

from repro import load_experiment
from repro.harness.claims import Verdict
from repro.harness.plan import resolve
from repro.harness.records import Record, RecordSet, Series
from repro.kinds.latency.declare import Protocol, changed
from repro.kinds.latency.result import LatencyResult
from repro.profiles import mini
from repro.table3 import TABLE


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_sizes": ()}, "batch sizes must be different and at least 1"),
        ({"batch_sizes": (0,)}, r"got \[0\]"),
        ({"batch_sizes": (2, 2)}, r"got \[2, 2\]"),
        ({"dtype": "float8"}, "dtype must be one of float32, bfloat16, float16, got 'float8'"),
        ({"vae": "huge"}, "vae must be one of full, tiny, none, got 'huge'"),
        ({"rounds": 0}, "at least 1 round"),
        ({"train_steps": 0}, "training steps must be at least 1, got 0"),
        ({"train_batch": -1}, "training batch must be at least 1, got -1"),
        ({"train_rounds": -1}, "no count may be negative"),
        ({"text_length": -5}, "text length must not be negative, got -5"),
    ],
)
def test_a_protocol_that_is_none_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(Protocol(), **wrong)


def test_options_that_were_not_typed_change_nothing() -> None:
    assert changed(Protocol(), dtype=None, rounds=None) == Protocol()
    assert changed(Protocol(), rounds=5).rounds == 5


def result(slow: tuple[float, ...], fast: tuple[float, ...]) -> LatencyResult:
    run = replace(RUN, table="table3", config={"protocol": {"batch_sizes": [8], "train_rounds": 0}})
    lines: list[Any] = [run]
    for key, seconds in (("fullscale_6", slow), ("scalewise_6", fast)):
        lines.append(Series.of(key, "seconds_b8", seconds, over="round"))
        lines.append(Record.of(run, key, "flops_steps", 2.0 if key == "fullscale_6" else 1.0))
    return LatencyResult(TABLE, mini.PROFILE, RecordSet.of(lines))


@pytest.mark.parametrize(
    ("slow", "verdict"),
    [
        ((2.2, 2.3, 2.2, 2.4, 2.3), Verdict.REPRODUCED),
        ((1.6, 1.7, 1.6, 1.8, 1.7), Verdict.NOT_REPRODUCED),
        ((1.6, 2.4, 1.9, 2.2, 2.0), Verdict.NOT_DECIDED),
        ((2.2, 2.3), Verdict.NOT_MEASURED),
    ],
)
def test_speed_claims_follow_the_rounds(slow: tuple[float, ...], verdict: Verdict) -> None:
    judged = {j.claim.key: j for j in result(slow, (1.0,) * len(slow)).judgements}
    assert judged["six_steps_twice"].verdict is verdict
    assert judged["four_steps_as_two"].verdict is Verdict.NOT_MEASURED


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(1.0, Verdict.REPRODUCED), (1.05, Verdict.REPRODUCED), (1.2, Verdict.NOT_REPRODUCED)],
)
def test_approaching_is_being_within_a_tenth_of_the_time_whatever_the_flops_allow(
    seconds: float, verdict: Verdict
) -> None:
    run = replace(RUN, table="table3", config={"protocol": {"batch_sizes": [8], "train_rounds": 0}})
    lines: list[Any] = [run]
    for key, scale, flops in (("fullscale_2", 1.0, 0.5), ("scalewise_4", seconds, 1.0)):
        rounds = [scale * drift for drift in (1.0, 1.01, 1.0, 1.02, 1.01)]
        lines.append(Series.of(key, "seconds_b8", rounds, over="round"))
        lines.append(Record.of(run, key, "flops_steps", flops))
    judged = {j.claim.key: j for j in LatencyResult(TABLE, mini.PROFILE, RecordSet.of(lines)).judgements}
    assert judged["four_steps_as_two"].verdict is verdict
    assert "(FLOPs allow 0.50)" in judged["four_steps_as_two"].claim.text


def test_ratios_are_those_within_a_round() -> None:
    """A machine that halves its speed between rounds moves no ratio."""
    drifting = result((2.5, 5.0, 2.5, 5.0, 2.5), (1.0, 2.0, 1.0, 2.0, 1.0)).judgements[0]
    assert drifting.comparison is not None
    assert drifting.comparison.shown == pytest.approx((0.5, 0.5, 0.5))


def test_rows_pair_up() -> None:
    for timed in TABLE.rows:
        if timed.baseline:
            steps = [resolve(mini.PROFILE, row).sample.steps for row in (timed.row, TABLE.row(timed.baseline).row)]
            assert steps[0] == steps[1]
    assert load_experiment("table3") is TABLE
