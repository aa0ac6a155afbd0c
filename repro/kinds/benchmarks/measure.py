"""Turns what the benchmarks measured into records."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from repro.harness import records
from repro.harness.files import ROOT, digest_folder, digest_json
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.runs import open_run, records_path
from repro.harness.schema import Line, Record, RecordSet, Run
from repro.kinds.benchmarks import keys
from repro.kinds.benchmarks.declare import BenchmarkPage
from repro.stages.pytest_benchmark import configurations, machine, name_of, run_pytest, times


def run(page: BenchmarkPage, profile: Profile, options: RunOptions) -> Path:
    """Measure everything, always anew: a benchmark is about the code as it is now.

    Returns:
        The records file.

    Raises:
        ExperimentError: there is no ``benchmarks`` folder (it comes with the checkout only), or a benchmark failed.
    """
    opened = open_run(page, profile, options, {})
    measured, skipped = run_pytest(benchmark_files(page), options.work, page.rounds)
    opened = replace(opened, config={"benchmarks": configurations(measured), "machine": machine(measured)})
    closed = opened.close(
        device=str(measured["machine_info"]["device"]),
        dtype="see each benchmark",
        data_hash=digest_json(opened.config["benchmarks"]),
        weights_hash=digest_folder(ROOT / profile.weights.pipeline),
    )
    path = records_path(page, profile, options)
    records.save(path, RecordSet.of([closed, *_lines(closed, measured), *_skipped(closed, skipped)]))
    return path


def benchmark_files(page: BenchmarkPage) -> list[Path]:
    """Those of the page, sorted."""
    return [path for path in sorted((ROOT / "benchmarks").glob("bench_*.py")) if path.name not in page.left_out]


def _lines(run: Run, measured: Mapping[str, Any]) -> Iterator[Line]:
    for entry in measured["benchmarks"]:
        name, extra = name_of(entry), entry["extra_info"]
        yield times(name, keys.seconds(), entry["stats"]["data"])
        for provider, seconds in extra.get("seconds", {}).items():
            yield times(name, keys.seconds(provider), seconds)
        for field, key in (("share_of_roofline", keys.share_of_roofline), ("peak_bytes", keys.peak_bytes)):
            values = extra.get(field, {})
            for provider, value in (values if isinstance(values, dict) else {"": values}).items():
                yield Record.of(run, name, key(provider), float(f"{value:.6g}"))


def _skipped(run: Run, report: Path) -> Iterator[Record]:
    """Benchmarks that did not run, with the reason that pytest gives."""
    for case in ElementTree.parse(report).iter("testcase"):
        if (why := case.find("skipped")) is not None:
            name = case.get("name", "").removeprefix("bench_")
            note = why.get("message", "skipped").removeprefix("Skipped: ")
            yield replace(Record.of(run, name, keys.seconds(), 0.0, n=0), value=None, note=f"Skipped: {note}.")
