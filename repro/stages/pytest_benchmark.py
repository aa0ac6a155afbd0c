"""Runs pytest-benchmark over files of ``benchmarks/`` and reads what it measured."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT
from repro.harness.schema import Series


def run_pytest(files: Sequence[Path], work: Path, rounds: int) -> tuple[dict[str, Any], Path]:
    """Run benchmarks, those whose providers take turns for so many rounds.

    Returns:
        What pytest-benchmark measured, and pytest's report, which names what was skipped.

    Raises:
        ExperimentError: there are no such files (they come with the checkout only), or a benchmark failed.
    """
    check_files(files)
    work.mkdir(parents=True, exist_ok=True)
    found, report = work / "benchmarks.json", work / "benchmarks.xml"
    command = [sys.executable, "-m", "pytest", *map(str, files), "--benchmark-only", "-q", "-p", "no:cacheprovider"]
    options = (f"--rounds={rounds}", f"--benchmark-json={found}", f"--junitxml={report}")
    done = subprocess.run([*command, *options], cwd=ROOT, check=False)
    if done.returncode:
        raise ExperimentError(f"benchmarks failed (pytest exit status {done.returncode}); nothing was written")
    measured: dict[str, Any] = json.loads(found.read_text())
    return measured, report


def check_files(files: Sequence[Path]) -> None:
    """Raise ExperimentError unless there are files, and all are there: they come with the checkout only."""
    if not files or not all(path.is_file() for path in files):
        raise ExperimentError(f"no benchmarks in {ROOT / 'benchmarks'}: they come with the checkout, not the package")


def name_of(entry: Mapping[str, Any]) -> str:
    """Name of a benchmark, without what marks it as one."""
    return str(entry["name"]).removeprefix("bench_")


def configurations(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Benchmark -> what it says about itself in a word or a number."""
    plain = (str, int, float)
    return {
        name_of(entry): {key: value for key, value in entry["extra_info"].items() if isinstance(value, plain)}
        for entry in measured["benchmarks"]
    }


def machine(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What the benchmarks ran on."""
    wanted = ("device", "threads", "cuda", "driver", "versions", "python_version", "system", "release")
    return {key: measured["machine_info"].get(key) for key in wanted}


def times(variant: str, metric: str, seconds: list[float]) -> Series:
    """At most 101 of the rounds, evenly chosen from the sorted ones of a benchmark that took thousands."""
    if len(seconds) > 101:
        ordered = sorted(seconds)
        seconds = [ordered[round(place * (len(ordered) - 1) / 100)] for place in range(101)]
    return Series.of(variant, metric, seconds, over="round", unit="s")
