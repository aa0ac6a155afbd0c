"""Records to pages and figures: the same records give the same bytes, and a check names what is stale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from repro.harness.experiment import Experiment
from repro.harness.files import INDEX, refuse_foreign, write_atomic
from repro.harness.index import index
from repro.harness.kind import FindProfile, Kind
from repro.harness.plots import figure_path, recorded_digest
from repro.harness.records import load
from repro.harness.result import Measured
from repro.harness.schema import RecordError

FindExperiment = Callable[[str], Experiment]
FindKind = Callable[[Experiment], Kind[Any]]


class Entry(NamedTuple):
    """What one records file holds, and the kind that shows it."""

    kind: Kind[Any]
    result: Measured[Any]


@dataclass(frozen=True, slots=True)
class Stale:
    """A file that is not what the records say."""

    path: Path
    reason: str


def results(out: Path, find_experiment: FindExperiment, find_profile: FindProfile, find_kind: FindKind) -> list[Entry]:
    """Every records file below ``out``, read strictly, in name order.

    Raises:
        RecordError: a bad records file, or one whose name does not say its table and profile.
        UnknownNameError: records of an unknown experiment or profile.
    """
    found = []
    for path in sorted((out / "records").glob("*.jsonl")):
        records = load(path)
        if not records.runs:
            raise RecordError(f"{path}: holds no run")
        run = records.runs[0]
        experiment = find_experiment(run.table)
        kind = find_kind(experiment)
        result = kind.result(experiment, find_profile(run.profile), records)
        if result.stem != path.stem:
            raise RecordError(f"{path}: holds {run.table} of profile {run.profile}, expected in {result.stem}.jsonl")
        found.append(Entry(kind, result))
    return found


def render(out: Path, found: Sequence[Entry]) -> list[Path]:
    """Write what is stale: figures first, since pages link to them. Returns the written files.

    Raises:
        OutputError: the folder has a README of somebody else; nothing was written.
    """
    refuse_foreign(out / INDEX)
    written = []
    for path, draw in _stale_figures(out, found):
        write_atomic(path, draw())
        written.append(path)
    for path, text in _pages(out, found).items():
        if _text(path) != text:
            write_atomic(path, text)
            written.append(path)
    return written


def check(out: Path, found: Sequence[Entry]) -> list[Stale]:
    """What ``render`` would write, and pages that no records stand behind."""
    stale = [Stale(path, "not drawn from these records") for path, _ in _stale_figures(out, found)]
    pages = _pages(out, found)
    for path, text in pages.items():
        if _text(path) != text:
            stale.append(Stale(path, "differs from its records" if path.exists() else "missing"))
    for _, result in found:
        for run in result.records.runs:
            for kind, digest in run.figures.items():
                path = figure_path(out, result.stem, kind)
                if recorded_digest(path) != digest:
                    stale.append(Stale(path, "not what the run of these records drew: run the table again"))
    orphans = sorted(set(out.glob("*.md")) - set(pages))
    return stale + [Stale(path, "no records stand behind it: delete it") for path in orphans]


def _pages(out: Path, found: Sequence[Entry]) -> dict[Path, str]:
    pages = {out / f"{result.stem}.md": kind.page(result, out) for kind, result in found}
    return {**pages, out / INDEX: index([result for _, result in found])} if found else {}


def _stale_figures(out: Path, found: Sequence[Entry]) -> list[tuple[Path, Callable[[], bytes]]]:
    stale = []
    for kind, result in found:
        if (drawing := kind.drawing(result)) is None:
            continue
        path = figure_path(out, result.stem, drawing.kind)
        if recorded_digest(path) != drawing.digest:
            stale.append((path, drawing.draw))
    return stale


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
