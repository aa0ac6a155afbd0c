"""Latency and parameters beside scores: the clock, what is kept, claims about speed, and the page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repro import table2, table4
from repro.harness.bootstrap import compare_rounds, median_interval
from repro.harness.claims import NoComparison, Verdict, claims_table
from repro.harness.files import ROOT
from repro.harness.plan import resolve
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.scores.costs import BILLIONS, LATENCY, MILLIONS, PARAMETERS, SECONDS, cost_columns
from repro.kinds.scores.declare import Clock, Faster
from repro.kinds.scores.page import page
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.timed_rows import TimedRows, cost_lines
from repro.profiles import mini
from repro.stages.images import load_pipeline
from repro.stages.row_times import image_spans, interleaved, row_times
from repro.stages.store import StageStore

CPU = torch.device("cpu")
RUN = Run(
    run="r", table="table4", profile="mini", commit=None, dirty=None, config={}, config_hash="", versions={},
    device="d", dtype="float32", data_hash="", weights_hash="", command="", start="2026-11-26T00:00:00",
    wall_seconds=1.0, peak_memory_bytes=1,
)  # fmt: skip


def result(lines: tuple[Line, ...]) -> ScoresResult:
    return ScoresResult(table4.TABLE, mini.PROFILE, RecordSet.of([RUN, *lines]))


def rounds(**seconds: list[float]) -> tuple[Line, ...]:
    return tuple(Series.of(key, SECONDS, values, over="round", unit="s") for key, values in seconds.items())


def test_rounds_take_turns_and_warm_up_is_not_counted() -> None:
    order: list[str] = []

    def call(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = interleaved({"a": lambda: call("a"), "b": lambda: call("b")}, rounds=2, warmup=1)
    assert order == ["a", "b"] * 3
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_what_was_timed_once_stands_until_the_machine_is_another(tmp_path: Path) -> None:
    store, clock = StageStore(tmp_path), iter(range(9))

    def times(device: str) -> dict[str, list[float]]:
        return row_times(store, {"device": device}, lambda: {"a": [float(next(clock))]})

    assert [times("one"), times("two"), times("one")] == [{"a": [0.0]}, {"a": [1.0]}, {"a": [0.0]}]


def test_an_image_is_text_steps_and_decoding() -> None:
    pipeline = load_pipeline(ROOT / mini.PROFILE.weights.pipeline, "float32", CPU)
    for key, parts in (("scalewise_4", 6), ("teacher_4", 3)):
        plan = resolve(mini.PROFILE, table4.TABLE.row(key)).sample
        spans = image_spans(plan, pipeline, ["a red star", "two blue circles"], device=CPU, text_length=0)
        assert len(spans) == parts
        assert min(spans) > 0
    without = image_spans(plan, pipeline, ["a red star"], device=CPU, text_length=0, decode=False)
    assert without[-1] < spans[-1]


def test_lines_hold_median_rounds_and_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = {row.key: resolve(mini.PROFILE, row).sample for row in table4.TABLE.rows[1:3]}
    rows = TimedRows(
        plans=plans,
        load=lambda: load_pipeline(ROOT / mini.PROFILE.weights.pipeline, "float32", CPU),
        captions=lambda count: [f"{n} red stars" for n in range(count)],
        device=CPU,
        store=StageStore(tmp_path),
        inputs={},
    )
    table = replace(table4.TABLE, clock=Clock(batch_size=2, rounds=3, warmup=0))
    lines = list(cost_lines(RUN, table, rows))
    again = list(cost_lines(RUN, table, rows))
    assert lines == again  # read back, not timed again
    found = RecordSet.of(lines)
    for key in plans:
        (latency,), series = found.find(key, "", LATENCY.key), found.find_series(key, SECONDS)
        assert series is not None
        assert len(series.values) == latency.n == 3
        assert latency.value == pytest.approx(np.median(series.values), rel=1e-5)
        assert latency.ci_low <= latency.value <= latency.ci_high
        (parameters,) = found.find(key, "", PARAMETERS)
        assert parameters.value == sum(weight.numel() for weight in rows.pipeline.transformer.parameters())
    with pytest.raises(ValueError, match="table2 has no clock"):
        list(cost_lines(RUN, table2.TABLE, rows))


def test_a_ratio_is_taken_within_a_round() -> None:
    slow, fast = np.array([2.0, 20.0, 2.0]), np.array([1.0, 10.0, 1.0])
    found = compare_rounds(slow, fast, factor=1.5)
    assert (found.difference, found.low, found.high, found.n) == pytest.approx((0.5, 0.5, 0.5, 3))
    assert median_interval(np.array([1.0, 2.0, 3.0])) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(1.0, Verdict.REPRODUCED), (3.0, Verdict.NOT_REPRODUCED), (2.0, Verdict.REPRODUCED)]
)
def test_verdict_on_speed(seconds: float, verdict: Verdict) -> None:
    judged = result(rounds(scalewise_4=[seconds] * 5, fullscale_4=[2.0] * 5)).judgements
    assert judged[0].claim.key == "same_losses_speed"
    assert judged[0].verdict is verdict
    cells = claims_table(judged[:1], ("Verdict", "Difference", "Images", "Captions")).splitlines()[-1]
    assert [cell.strip() for cell in cells.split("|")][3:5] == ["5", ""]


def test_speed_that_was_not_measured_has_no_verdict() -> None:
    for lines in ((), rounds(scalewise_4=[1.0] * 5), rounds(scalewise_4=[1.0] * 2, fullscale_4=[2.0] * 2)):
        outcome = result(lines).judgements[0].outcome
        assert outcome == NoComparison(Verdict.NOT_MEASURED, "scalewise_4 and fullscale_4 were not both timed")


def test_columns_of_cost_and_their_unit() -> None:
    def columns(count: float) -> Any:
        return cost_columns(table4.TABLE, RecordSet.of([Record.of(RUN, "teacher", PARAMETERS, count)]))

    assert columns(2.3e6)[:2] == (LATENCY, MILLIONS)
    assert columns(2.2e9)[:2] == (LATENCY, BILLIONS)
    assert LATENCY not in cost_columns(table2.TABLE, RecordSet())


def test_page_shows_latency_and_parameters(tmp_path: Path) -> None:
    latency = Record.of(RUN, "scalewise_4", LATENCY.key, 0.0123, n=15, bounds=(0.012, 0.013), unit="s")
    text = page(result((latency, Record.of(RUN, "scalewise_4", PARAMETERS, 2_345_678.0))), tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("| SwD") and "0.012" in line)
    assert "0.012 [0.012, 0.013]" in row
    assert "2.35" in row
    assert "Latency, s" in text
    assert "Parameters, M" in text


def test_a_clock_has_images_and_rounds() -> None:
    for changes in ({"batch_size": 0}, {"rounds": 0}, {"warmup": -1}):
        with pytest.raises(ValueError, match="a clock takes at least 1 image and 1 round"):
            Clock(**changes)


def test_claim_on_speed_needs_a_clock() -> None:
    assert isinstance(table4.TABLE.claims[0].check, Faster)
    with pytest.raises(ValueError, match="claim 'same_losses_speed' is about time, but the table has no clock"):
        replace(table4.TABLE, clock=None)


def test_rows_of_the_mini_world_are_trained_on_equal_terms() -> None:
    own = {"preset", "objective", "weight_pdm", "lr", "lr_fake"}
    students = [row for row in table4.TABLE.rows_in("mini") if row.is_student]
    configs = [resolve(mini.PROFILE, row).training.as_json() for row in students]
    different = {name for config in configs for name in config if config[name] != configs[0][name]}
    assert different == own
    full = [config for config in configs if config["preset"] == "mini-full-4"]
    assert len(full) == 3
    assert len({config["lr"] for config in full}) == 1
