"""Latency and parameters beside scores: the clock, what is kept, claims about speed, and the page."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from repro import table2, table4
from repro.harness.claim_words import claims_table
from repro.harness.claims import NoComparison, Verdict
from repro.harness.clock import compared_rounds, mean_time
from repro.harness.files import ROOT, digest_json
from repro.harness.plan import resolve
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.scores.costs import BILLIONS, LATENCY, MILLIONS, PARAMETERS, SECONDS, cost_columns
from repro.kinds.scores.declare import Clock, Faster
from repro.kinds.scores.page import page
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.timed_rows import TimedRows, cost_lines
from repro.kinds.scores.timed_systems import TimedSystems
from repro.profiles import load_profile, mini
from repro.stages.images import load_pipeline
from repro.stages.row_times import image_spans, interleaved, row_times
from repro.stages.store import StageStore

CPU = torch.device("cpu")
NETWORKS = [row for row in table4.TABLE.rows_in("mini") if not row.real]
RUN = Run(
    run="r", table="table4", profile="mini", commit=None, dirty=None, config={},
    config_hash=digest_json({}), versions={}, device="d", dtype="float32", data_hash="",
    weights_hash="", command="", start="2026-11-26T00:00:00",
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


def test_lines_hold_mean_rounds_and_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = {row.key: resolve(mini.PROFILE, row).sample for row in NETWORKS[:2]}
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
        assert latency.value == pytest.approx(stats.gmean(series.values), rel=1e-5)
        assert latency.ci_low <= latency.value <= latency.ci_high
        (parameters,) = found.find(key, "", PARAMETERS)
        assert parameters.value == sum(weight.numel() for weight in rows.pipeline.transformer.parameters())
    with pytest.raises(ValueError, match="table2 has no clock"):
        list(cost_lines(RUN, table2.TABLE, rows))


def no_memory() -> float:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_row_without_memory_is_given_up_and_the_others_go_on() -> None:
    calls = {"large": no_memory, "small": lambda: 2.0}
    assert interleaved(calls, rounds=2, warmup=1) == {"large": [], "small": [2.0, 2.0]}
    tries = iter([1.0, 1.0, None, 1.0])

    def once_short() -> float:
        return next(tries) or no_memory()

    assert interleaved({"late": once_short}, rounds=3, warmup=1) == {"late": []}
    assert next(tries) == 1.0  # it was not called again

    def broken() -> float:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        interleaved({"broken": broken}, rounds=1, warmup=0)


def test_short_memory_is_not_remembered(tmp_path: Path) -> None:
    store, found = StageStore(tmp_path), iter([{"a": [], "b": [1.0]}, {"a": [2.0], "b": [3.0]}, {}])
    assert [row_times(store, {}, lambda: next(found)) for _ in range(3)] == [
        {"a": [], "b": [1.0]}, *[{"a": [2.0], "b": [3.0]}] * 2,
    ]  # fmt: skip


@dataclass
class Pipelines:
    """Of a source of published images: what is asked of it to time it."""

    memory: int
    loads: bool = True
    closed: int = 0

    def inputs(self) -> dict[str, Any]:
        return {"memory": self.memory}

    def generator(self, prompts: list[Any]) -> None:
        if not self.loads or len(prompts) > self.memory:
            no_memory()

    @property
    def pipeline(self) -> Any:
        if not self.loads:
            no_memory()
        return SimpleNamespace(transformer=torch.nn.Linear(3, 2))

    def close(self) -> None:
        self.closed += 1


def test_systems_that_do_not_fit_have_a_reason_in_place_of_a_latency(tmp_path: Path) -> None:
    sources: dict[str, Any] = {"sdxl": Pipelines(8), "flux_dev": Pipelines(2), "sd35_large": Pipelines(0, loads=False)}
    systems = TimedSystems(
        sources=sources,
        captions=lambda count: [f"{n} red stars" for n in range(count)],
        device=CPU,
        store=StageStore(tmp_path),
        dtype="float16",
    )
    lines = RecordSet.of(cost_lines(RUN, table4.TABLE, systems))
    values = {key: [lines.find(key, "", name)[0].value for name in (LATENCY.key, PARAMETERS)] for key in sources}
    assert values["sdxl"][0] is not None
    assert values["sdxl"][1] == 8
    assert values["flux_dev"] == [None, 8]
    assert values["sd35_large"] == [None, None]
    (latency,) = lines.find("flux_dev", "", LATENCY.key)
    assert latency.note == "Out of memory in batches of 8; --clock-batch N takes smaller ones."
    assert [source.closed for source in sources.values()] == [1, 1, 1]
    shown = page(ScoresResult(table4.TABLE, load_profile("flux"), lines), tmp_path)
    assert "--clock-batch N takes smaller ones" in shown

    table = replace(table4.TABLE, clock=replace(table4.TABLE.clock, batch_size=2))
    lines = RecordSet.of(cost_lines(RUN, table, systems))
    assert lines.find("flux_dev", "", LATENCY.key)[0].value is not None
    assert lines.find("sd35_large", "", LATENCY.key)[0].note.startswith("Out of memory in batches of 2;")


def test_networks_that_share_a_pipeline_are_given_up_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = {row.key: resolve(mini.PROFILE, row).sample for row in NETWORKS[:3]}

    def spans(plan: Any, *_: Any, **__: Any) -> list[float]:
        return [no_memory()] if plan == plans["teacher"] else [1.0, 2.0]

    monkeypatch.setattr("repro.kinds.scores.timed_rows.image_spans", spans)
    rows = TimedRows(
        plans=plans,
        load=lambda: load_pipeline(ROOT / mini.PROFILE.weights.pipeline, "float32", CPU),
        captions=lambda count: ["a red star"] * count,
        device=CPU,
        store=StageStore(tmp_path),
        inputs={},
    )
    found = dict(rows.timings(Clock(batch_size=2, rounds=4)))
    assert {key: list(timed.seconds) for key, timed in found.items()} == {
        key: [] if key == "teacher" else [1.5] * 4 for key in plans
    }
    assert len({timed.parameters for timed in found.values()}) == 1


def under(clock_batch: int, profile: str, tiny_vae: bool = False) -> str:
    """A page whose run says so."""
    config = {"clock": {"batch_size": clock_batch, "rounds": 15, "warmup": 1}}
    config["profile"] = {"execution": {"tiny_vae": tiny_vae}}
    run = replace(RUN, config=config)
    return " ".join(
        page(ScoresResult(table4.TABLE, load_profile(profile), RecordSet.of([run])), Path("nowhere")).split()
    )


def test_a_page_says_how_its_rows_were_timed() -> None:
    mini_page, real, typed = under(8, "mini"), under(8, "sdxl"), under(2, "sdxl", tiny_vae=True)
    assert "in batches of 8, the geometric mean of 15 interleaved rounds;" in mini_page
    assert "the ratio of two latencies within a round, the geometric mean" in mini_page
    assert "without `torch.compile` and with the full VAE" in real
    assert "interleaved" not in real
    assert "within a round" not in real
    assert "The factors that are claimed are of compiled networks and a tiny VAE" in real
    assert "in batches of 2 (this was typed: the table declares 8)" in typed
    assert "with the tiny VAE" in typed


def test_a_ratio_is_taken_within_a_round() -> None:
    slow, fast = np.array([2.0, 20.0, 2.0]), np.array([1.0, 10.0, 1.0])
    found = compared_rounds(slow, fast, ratio=1.5)
    assert (*found.shown, found.n) == pytest.approx((0.5, 0.5, 0.5, 3))


def test_a_latency_is_the_geometric_mean_of_its_rounds_with_students_t_of_the_logarithms() -> None:
    logs = np.random.default_rng(0).normal(-3, 0.1, 9)
    value, bounds = mean_time(np.exp(logs))
    assert value == pytest.approx(np.exp(logs.mean()))
    assert np.log(bounds) == pytest.approx(stats.t.interval(0.95, 8, logs.mean(), stats.sem(logs)))
    assert mean_time([0.5]) == (0.5, (None, None))


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(1.0, Verdict.REPRODUCED), (3.0, Verdict.NOT_REPRODUCED), (2.0, Verdict.NOT_DECIDED)]
)
def test_verdict_on_speed(seconds: float, verdict: Verdict) -> None:
    judged = result(rounds(scalewise_4=[seconds] * 5, fullscale_4=[2.0] * 5)).judgements
    assert judged[0].claim.key == "same_losses_speed"
    assert judged[0].verdict is verdict
    cells = claims_table(judged[:1], ("Verdict", "Difference", "Images", "Captions")).splitlines()[-1]
    assert [cell.strip() for cell in cells.split("|")][3:5] == ["5", ""]


def test_speed_that_was_not_measured_has_no_verdict() -> None:
    few = "a verdict takes at least 3 rounds, 2 were timed"
    for lines, reason in (
        ((), "scalewise_4 and fullscale_4 were not both timed"),
        (rounds(scalewise_4=[1.0] * 5), "scalewise_4 and fullscale_4 were not both timed"),
        (rounds(scalewise_4=[1.0] * 2, fullscale_4=[2.0] * 2), few),
    ):
        assert result(lines).judgements[0].outcome == NoComparison(Verdict.NOT_MEASURED, reason)


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
