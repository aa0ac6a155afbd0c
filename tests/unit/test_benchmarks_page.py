"""From what pytest-benchmark wrote to records, page and figure."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from repro.benchmarks import PAGE
from repro.harness import render
from repro.harness.experiment import ExperimentError
from repro.harness.options import RunOptions
from repro.harness.records import load
from repro.kinds import kind_of
from repro.kinds.benchmarks import measure as benchmarks
from repro.profiles.mini import PROFILE
from repro.stages import pytest_benchmark

ROUNDS = {"plain": [0.8, 0.9, 0.8], "fast": [0.5, 0.6, 0.5], "diffusers": [1.0, 1.2, 1.0]}
MEASURED: dict[str, Any] = {
    "machine_info": {"device": "toy card", "threads": 2, "python_version": "3.11", "system": "Linux"},
    "benchmarks": [
        {
            "name": "bench_sampling[mini]",
            "stats": {"data": [2.3, 2.7, 2.3]},
            "extra_info": {
                "model": "mini",
                "schedule": "mini-6",
                "batch_size": 2,
                "device": "toy card",
                "dtype": "float32",
                "seconds": ROUNDS,
                "share_of_roofline": {"plain": 0.25, "fast": 0.5, "diffusers": 0.2},
                "peak_bytes": {"plain": 2**30, "fast": 2**30, "diffusers": 2**31},
            },
        },
        {"name": "bench_loss", "stats": {"data": [0.001 * n for n in range(1, 1001)]}, "extra_info": {}},
    ],
}
REPORT = """<testsuites><testsuite>
<testcase name="bench_sampling[mini]"/>
<testcase name="bench_sampling[large]"><skipped message="Skipped: needs a CUDA device"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="python -m repro benchmarks")


@pytest.fixture
def pytest_run(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for the run of pytest: writes what it would have written."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        if "pytest" not in command:
            return subprocess.CompletedProcess(command, 1, stdout="")
        calls.append(command)
        for word in command:
            if word.startswith("--benchmark-json="):
                Path(word.partition("=")[2]).write_text(json.dumps(MEASURED))
            if word.startswith("--junitxml="):
                Path(word.partition("=")[2]).write_text(REPORT)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(pytest_benchmark.subprocess, "run", run)
    return calls


def rendered(options: RunOptions) -> str:
    benchmarks.run(PAGE, PROFILE, options)
    found = render.results(options.out, lambda _: PAGE, lambda _: PROFILE, kind_of)
    render.render(options.out, found)
    assert render.check(options.out, found) == []
    return (options.out / "benchmarks.md").read_text()


def test_records_hold_rounds_shares_and_skips(options: RunOptions, pytest_run: list[list[str]]) -> None:
    records = load(benchmarks.run(PAGE, PROFILE, options))
    fast = records.find_series("sampling[mini]", "seconds_fast")
    assert fast is not None
    assert (fast.over, fast.values, fast.n, fast.unit) == ("round", (0.5, 0.6, 0.5), 3, "s")
    assert records.find("sampling[mini]", "", "share_of_roofline_fast")[0].value == 0.5
    (skipped,) = records.find("sampling[large]", "", "seconds")
    assert (skipped.value, skipped.note) == (None, "Skipped: needs a CUDA device.")
    assert records.runs[0].device == "toy card"
    assert len(pytest_run) == 1
    assert f"--rounds={PAGE.rounds}" in pytest_run[0]


def test_thousands_of_rounds_keep_their_quantiles(options: RunOptions, pytest_run: list[list[str]]) -> None:
    records = load(benchmarks.run(PAGE, PROFILE, options))
    (rounds,) = [series.values for series in records.series if series.variant == "loss"]
    assert len(rounds) == 101
    assert rounds[0] == 0.001
    assert rounds[50] == pytest.approx(0.5005, abs=0.001)
    assert rounds[-1] == 1.0


def test_the_page_compares_within_rounds(options: RunOptions, pytest_run: list[list[str]]) -> None:
    text = rendered(options)
    (fast,) = [line for line in text.splitlines() if "| fast" in line]
    cells = [cell.strip() for cell in fast.split("|")]
    assert cells[7:11] == ["250.0 [250.0, 275.0]", "0.50 [0.50, 0.50]", "0.80", "50"]
    assert "Skipped: needs a CUDA device." in text
    assert (options.out / "figures" / "benchmarks_providers.png").exists()


def test_it_measures_anew_every_time(options: RunOptions, pytest_run: list[list[str]]) -> None:
    for _ in range(2):
        benchmarks.run(PAGE, PROFILE, options)
    assert len(pytest_run) == 2


def test_a_failing_benchmark_writes_nothing(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_benchmark.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stdout=""))
    with pytest.raises(ExperimentError, match="exit status 1"):
        benchmarks.run(PAGE, PROFILE, options)
    assert not (options.out / "records").exists()


def test_without_the_checkout_there_are_none(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmarks, "ROOT", tmp_path)
    with pytest.raises(ExperimentError, match="come with the checkout"):
        benchmarks.run(PAGE, PROFILE, options)


def test_a_page_without_providers_has_no_figure(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch, pytest_run: list[list[str]]
) -> None:
    monkeypatch.setitem(MEASURED, "benchmarks", MEASURED["benchmarks"][1:])
    assert "Not measured." in rendered(replace(options))
