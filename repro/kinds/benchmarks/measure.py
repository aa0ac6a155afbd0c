"""Runs pytest-benchmark over ``benchmarks/`` and turns what it measured into records."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from repro.harness import records
from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, digest_folder, digest_json
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.provenance import start_run
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.benchmarks import keys
from repro.kinds.benchmarks.declare import BenchmarkPage


def run(page: BenchmarkPage, profile: Profile, options: RunOptions) -> Path:
    """Measure everything, always anew: a benchmark is about the code as it is now.

    Returns:
        The records file.

    Raises:
        ExperimentError: there is no ``benchmarks`` folder (it comes with the checkout only), or a benchmark failed.
    """
    opened = start_run(table=page.key, profile=profile.name, config={}, command=options.command, folder=ROOT)
    measured, skipped = run_pytest(_files(page), options.work, page.rounds)
    opened = replace(opened, config={"benchmarks": configurations(measured), "machine": machine(measured)})
    closed = opened.close(
        device=str(measured["machine_info"]["device"]),
        dtype="see each benchmark",
        data_hash=digest_json(opened.config["benchmarks"]),
        weights_hash=digest_folder(ROOT / profile.weights.pipeline),
    )
    path = options.out / "records" / f"{profile.stem(page.key)}.jsonl"
    records.save(path, RecordSet.of([closed, *_lines(closed, measured), *_skipped(closed, skipped)]))
    return path


def _files(page: BenchmarkPage) -> list[Path]:
    return [path for path in sorted((ROOT / "benchmarks").glob("bench_*.py")) if path.name not in page.left_out]


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


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).removeprefix("bench_")


def configurations(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Benchmark -> what it says about itself in a word or a number."""
    plain = (str, int, float)
    return {
        _name(entry): {key: value for key, value in entry["extra_info"].items() if isinstance(value, plain)}
        for entry in measured["benchmarks"]
    }


def machine(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What the benchmarks ran on."""
    wanted = ("device", "threads", "cuda", "driver", "versions", "python_version", "system", "release")
    return {key: measured["machine_info"].get(key) for key in wanted}


def _lines(run: Run, measured: Mapping[str, Any]) -> Iterator[Line]:
    for entry in measured["benchmarks"]:
        name, extra = _name(entry), entry["extra_info"]
        yield times(name, keys.seconds(), entry["stats"]["data"])
        for provider, seconds in extra.get("seconds", {}).items():
            yield times(name, keys.seconds(provider), seconds)
        for field, key in (("share_of_roofline", keys.share_of_roofline), ("peak_bytes", keys.peak_bytes)):
            values = extra.get(field, {})
            for provider, value in (values if isinstance(values, dict) else {"": values}).items():
                yield Record.of(run, name, key(provider), float(f"{value:.6g}"))


def times(variant: str, metric: str, seconds: list[float]) -> Series:
    """At most 101 of the rounds, evenly chosen from the sorted ones of a benchmark that took thousands."""
    if len(seconds) > 101:
        ordered = sorted(seconds)
        seconds = [ordered[round(place * (len(ordered) - 1) / 100)] for place in range(101)]
    return Series.of(variant, metric, seconds, over="round", unit="s")


def _skipped(run: Run, report: Path) -> Iterator[Record]:
    """Benchmarks that did not run, with the reason that pytest gives."""
    for case in ElementTree.parse(report).iter("testcase"):
        if (why := case.find("skipped")) is not None:
            name = case.get("name", "").removeprefix("bench_")
            note = why.get("message", "skipped").removeprefix("Skipped: ")
            yield replace(Record.of(run, name, keys.seconds(), 0.0, n=0), value=None, note=f"Skipped: {note}.")
