"""From the benchmark's times and the counted passes to records and page."""

from pathlib import Path
from typing import Any

import pytest

from repro.harness import render
from repro.harness.experiment import ExperimentError
from repro.harness.options import RunOptions
from repro.harness.records import load
from repro.harness.schema import RecordError
from repro.kinds import kind_of
from repro.kinds.training_cost import measure as training_cost
from repro.profiles.mini import DISTIL, PROFILE
from repro.stages.images import text_encoders
from repro.stages.store import StageStore
from repro.training_cost import PAGE
from swd.cost import weight_bytes
from swd.training import DistillConfig

ORDERS = [order.key for order in PAGE.orders]
SECONDS = {key: [2.0 - 0.2 * place, 2.1 - 0.2 * place, 2.0 - 0.2 * place] for place, key in enumerate(ORDERS)}
EXTRA: dict[str, Any] = {
    "model": "mini",
    "schedule": "mini-6",
    "device": "toy card",
    "dtype": "float32",
    "batch_size": 4,
    "seconds": SECONDS,
    "peak_bytes": dict.fromkeys(ORDERS, 2**30),
}
MEASURED: dict[str, Any] = {
    "machine_info": {"device": "toy card", "threads": 2},
    "benchmarks": [{"name": "bench_training[mini]", "stats": {"data": [2.0]}, "extra_info": EXTRA}],
}


def counts(*_: Any) -> dict[str, dict[str, Any]]:
    flops = {
        key: {"fake update: backward": 10**12 * (10 - place)} | ({"prompts": 10**12} if key == "plain" else {})
        for place, key in enumerate(ORDERS)
    }
    return {"flops": flops, "bytes": {key: (8 - place) * 2**30 for place, key in enumerate(ORDERS)}}


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    monkeypatch.setattr(training_cost, "run_pytest", lambda files, work, rounds: (MEASURED, work / "report.xml"))
    monkeypatch.setattr(training_cost, "_counts", counts)
    return RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="python -m repro training_cost")


def text(options: RunOptions) -> str:
    found = render.results(options.out, lambda _: PAGE, lambda _: PROFILE, kind_of)
    render.render(options.out, found)
    assert not render.check(options.out, found)
    return (options.out / "training_cost.md").read_text()


def test_page_follows_from_times_and_counts(options: RunOptions) -> None:
    path = training_cost.run(PAGE, PROFILE, options)
    assert load(path).records
    shown = text(options)
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in shown.splitlines()
        if "|" in line
    }
    assert rows["Fake update: backward"] == ["10.0", "3.0", "10.0", "3.0"]
    assert rows["Prompts"] == ["1.0", "\u2014", "1.0", "\u2014"]
    assert rows[PAGE.orders[-1].label] == ["1,024.0", "0.12", "1.0", "0.12", "1.0", "0.12"]  # the last of three tables
    assert "| 3,000.0 | 0.27 | 3.0 | 0.27 | 3.0 | 0.27 |" in " ".join(shown.split())  # of 11, prompts among them
    by_clock = shown.partition("## By count")[0]
    assert "| 2.00 [2.00, 2.05] | 1.00 [1.00, 1.00] | 1,024 |" in " ".join(by_clock.split())
    assert "Aim: at most 0.67 of the published order. It is met: 0.30." in by_clock


def test_a_missed_aim_is_said(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRA, "seconds", {**SECONDS, "lean": [1.8, 1.8, 1.8]})
    training_cost.run(PAGE, PROFILE, options)
    assert "It is missed: 0.90." in text(options)


def test_records_without_a_new_order_ask_for_another_measurement(options: RunOptions) -> None:
    path = training_cost.run(PAGE, PROFILE, options)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not ('"half"' in line and "seconds_mini" in line)))
    with pytest.raises(RecordError, match="order 'half' of mini was not timed, measure the page again"):
        text(options)


def test_times_of_the_wrong_model_are_no_times(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRA, "model", "sd35-medium")
    with pytest.raises(ExperimentError, match=r"bench_training.py did not time mini"):
        training_cost.run(PAGE, PROFILE, options)
    assert not (options.out / "records").exists()


def test_every_order_is_counted_and_timed() -> None:
    assert {"plain", *training_cost.COUNTS, *training_cost.SAME} == set(ORDERS)


def test_a_finished_count_is_kept_for_every_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr(training_cost, "_count", lambda page, profile, _: counted.append(profile.name) or {"plain": {}})
    for _ in range(2):
        for name in PAGE.counted:
            assert training_cost._counts(StageStore(tmp_path), PAGE, name) == {"plain": {}}
    assert counted == list(PAGE.counted)


def test_memory_is_counted_with_the_networks_that_an_order_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_cost, "training_cost", lambda *args, **options: {})  # FLOPs take as long again
    options = {**DISTIL.common, "fake_updates": PAGE.fake_updates}
    pipe = training_cost._skeleton(PROFILE)
    held = training_cost._count(PAGE, PROFILE, DistillConfig(preset="mini-full-2", **options))["bytes"]
    network = weight_bytes(pipe.transformer)
    assert held["plain"] >= held["cached"] + weight_bytes(pipe.vae, *text_encoders(pipe))
    assert held["one_network"] <= held["student_pass"] < held["half"] < held["memory"] == held["lean"]
    # guidance, and data with samples for the GAN, are doubled batches in one network
    assert held["cached"] - 3 * network < held["one_network"] - network


def test_benchmarks_that_are_not_there_are_found_before_anything_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_cost, "BENCHMARK_FILES", [tmp_path / "benchmarks" / "bench_training.py"])
    monkeypatch.setattr(training_cost, "_counts", lambda *_: pytest.fail("counted"))
    with pytest.raises(ExperimentError, match="they come with the checkout"):
        training_cost.run(PAGE, PROFILE, RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="test"))
