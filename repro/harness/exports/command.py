"""`python -m repro export` and `python -m repro logbook`: what they take and what they do."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.harness import arguments, terminal
from repro.harness.experiment import ExperimentError, UnknownNameError

if TYPE_CHECKING:
    from repro.harness.exports.hub import Benchmark
    from repro.harness.exports.scores import RowScores
    from repro.harness.render import Entry

ORGANIZATION = "SwD suite"
NO_BENCHMARK = (
    "no .eval_results: the Hub files a score under a data set that is registered as a benchmark, and prompt sets are "
    "none; name yours with --benchmark OWNER/NAME"
)


def add_parsers(commands: Any, committed: str) -> None:
    """Add both commands to the parsers of the command line.

    Args:
        commands: what ``add_subparsers`` gave.
        committed: default results folder, relative to the checkout.
    """
    export = _parser(
        commands, "export", "write scores as Every Eval Ever JSON and as .eval_results of the Hub", committed
    )
    export.add_argument("--out", type=arguments.path, metavar="DIR", help="where they go (default: results/exports)")
    export.add_argument(
        "--benchmark", metavar="OWNER/NAME", help="data set of the Hub that .eval_results files the scores under"
    )
    export.add_argument(
        "--organization", default=ORGANIZATION, help=f"who ran the evaluation (default: {ORGANIZATION})"
    )
    export.set_defaults(act=_export)
    logbook = _parser(commands, "logbook", "write a Trackio logbook with a page for each claim, offline", committed)
    logbook.add_argument(
        "--out", type=arguments.path, metavar="DIR", help="workspace of the logbook (default: results/logbook)"
    )
    logbook.set_defaults(act=_logbook)


def run(typed: Namespace, root: Path, committed: str, find: Callable[[Path], "list[Entry]"]) -> int:
    """Carry a command out.

    Args:
        typed: command line.
        root: checkout.
        committed: default results folder, relative to it.
        find: reads the records of a results folder.

    Raises:
        UnknownNameError: a table without records.
        ExperimentError: nothing can be exported.
    """
    folder = typed.results or root / committed
    status: int = typed.act(typed, chosen(find(folder), typed.tables), folder, root)
    return status


def chosen(found: "Sequence[Entry]", names: Sequence[str]) -> "list[Entry]":
    """The entries of these tables, by key or by the name of the page; all where no name is given.

    Raises:
        UnknownNameError: no records of that table.
    """
    known = {name for entry in found for name in _names(entry)}
    for name in names:
        if name not in known:
            raise UnknownNameError("table with records", name, known)
    return [entry for entry in found if not names or _names(entry) & set(names)]


def _names(entry: "Entry") -> set[str]:
    return {entry.result.experiment.key, entry.result.stem}


def _parser(commands: Any, name: str, text: str, committed: str) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="of these tables only (default: all with records)")
    parser.add_argument(
        "--results", type=arguments.path, metavar="DIR", help=f"results folder to read (default: {committed})"
    )
    return parser


def _export(typed: Namespace, found: "list[Entry]", folder: Path, root: Path) -> int:
    from repro.harness.exports.hub import Benchmark  # what writes is not for --help
    from repro.harness.exports.scores import row_scores

    benchmark = Benchmark.parse(typed.benchmark) if typed.benchmark else None
    out = typed.out or root / "results" / "exports"
    written = 0
    for kind, result in found:
        rows = row_scores(result)
        if not rows:
            terminal.say(f"skipped {result.stem}: {kind.name} is not scored by row of a model")
        for row in rows:
            written += _write(row, out / row.stem / row.folder, benchmark, typed.organization)
    if not written:
        raise ExperimentError(f"nothing in {folder} has scores by row: export a table such as table2")
    if benchmark is None:
        terminal.say(NO_BENCHMARK)
    return 0


def _write(row: "RowScores", folder: Path, benchmark: "Benchmark | None", organization: str) -> int:
    from repro.harness.exports.every_eval_ever import every_eval_ever
    from repro.harness.exports.hub import eval_results
    from repro.harness.files import write_atomic

    texts = {folder / "eval.json": every_eval_ever(row, organization)}
    if benchmark is not None:
        texts[folder / ".eval_results" / f"{row.stem}.yaml"] = eval_results(row, benchmark)
    for path, text in texts.items():
        write_atomic(path, text)
        print(f"wrote {path}")
    return len(texts)


def _logbook(typed: Namespace, found: "list[Entry]", folder: Path, root: Path) -> int:
    from repro.harness.exports.logbook import write_logbook

    workspace = typed.out or root / "results" / "logbook"
    pages = write_logbook([result for _, result in found], folder, workspace)
    print(*(f"wrote {path}" for path in pages), sep="\n")
    print(f"look at it: trackio logbook serve {workspace}")
    return 0
