"""Command line: measure a table or figure in a profile, or write the pages again from the records.

python -m repro table2 --profile mini
python -m repro render --check
python -m repro export
python -m repro list
"""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from repro import experiments, load_experiment
from repro._arguments import experiment_arguments, queue_arguments, variant_argument
from repro.harness import arguments, terminal
from repro.harness.command_words import check_paths, check_words
from repro.harness.experiment import Experiment, ExperimentError, UnknownNameError
from repro.harness.exports import command as exports
from repro.harness.failures import MACHINE, in_words
from repro.harness.files import INDEX, OutputError, probe_writable, refuse_foreign
from repro.harness.kind import UsageError, student_seeds
from repro.harness.options import COMMITTED, RunOptions
from repro.harness.profile import Profile
from repro.harness.schema import RecordError
from repro.kinds import kind_of, kinds
from repro.profiles import PROFILES, load_profile
from repro.study import commands as study

if TYPE_CHECKING:
    from repro.harness.render import Entry
    from repro.harness.units import Unit

MOST_WORKERS = 1024  # processes of one machine
COMMANDS = ("render", "export", "logbook", "queue", "study", "list")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII alone, names that are no UTF-8
    try:
        return _dispatch(words)
    except (UnknownNameError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ExperimentError, OutputError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush at the end fails too
        return 0
    except MACHINE as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 1


def _dispatch(words: list[str]) -> int:
    check_words(words)
    command = next((word for word in words if not word.startswith("-")), None)
    of_kinds = {one.name: one for kind in kinds() for one in kind.commands}
    known = (*COMMANDS, *of_kinds, *experiments())
    if command is not None and command not in known:
        raise UnknownNameError("experiment or command", command, known)
    typed = _parser().parse_args(words)
    check_paths(typed)
    if typed.command in of_kinds:
        return of_kinds[typed.command].run(typed, experiments())
    if typed.command == "list":
        return _list()
    if typed.command == "render":
        return _render(typed.out or _root() / COMMITTED, check=typed.check)
    if typed.command == "queue":
        return _queue(typed)
    if typed.command == "study":
        return study.run(typed)
    if "act" in typed:
        return exports.run(typed, _root(), COMMITTED, _found)
    return _measure(typed, words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m repro", description="Measure and render the tables and figures of the SwD paper."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    found = experiments()
    for name, experiment in found.items():
        command = commands.add_parser(name, help=f"measure and render {name}")
        experiment_arguments(command, experiment)
        for other in found.values():
            if other.variant is not None and other.variant.of == name:
                variant_argument(command, other.variant, other.key)
    render = commands.add_parser("render", help="write the pages again from the records")
    render.add_argument("--check", action="store_true", help="write nothing; exit 1 and name the files that are stale")
    render.add_argument("--out", type=arguments.path, metavar="DIR", help=f"results folder (default: {COMMITTED})")
    exports.add_parsers(commands, COMMITTED)
    queue_arguments(commands.add_parser("queue", help="measure several tables by several processes, in the background"))
    study.add_parser(commands)
    for one in (one for kind in kinds() for one in kind.commands):
        one.add_arguments(commands.add_parser(one.name, help=one.help))
    commands.add_parser("list", help="list tables, figures and profiles")
    return parser


def _queue(typed: argparse.Namespace) -> int:
    """Train, sample and score what the tables ask for, by several processes, then measure each."""
    from repro.stages import queue  # torch: not for --help

    if typed.workers is not None and not 1 <= typed.workers <= MOST_WORKERS:
        raise UsageError(f"--workers must be at least 1 and at most {MOST_WORKERS}, got {typed.workers}")
    jobs = [_job(name, typed) for name in dict.fromkeys(typed.tables)]
    if typed.dry_run and any(profile.scorers for _, profile, _ in jobs):
        for experiment, profile, options in jobs:  # their students are trained elsewhere: each plan says how
            kind_of(experiment).run(experiment, profile, options)
        return 0
    units = [_units(*job) for job in jobs]
    merged = list({unit.name: unit for found in units for unit in found}.values())
    work = jobs[0][2].work
    workers = queue.count_workers(typed.workers)
    if typed.worker is not None:
        queue.work(merged, work, orphaned=lambda: os.getppid() != typed.worker)
        return 0
    if typed.dry_run:
        terminal.show(queue.planned(merged, workers))
        return 0
    _refuse_unwritable(jobs[0][2])
    command = [sys.executable, "-m", "repro", "queue", *typed.tables, *_same(typed), "--worker", str(os.getpid())]
    try:
        queue.watch(merged, queue.Crew(command, workers, partial(queue.environment, workers=workers)))
    finally:  # a unit that failed is of some tables only
        for (experiment, profile, options), found in zip(jobs, units, strict=True):
            if all(unit.done() for unit in found):
                _measure_and_print(experiment, profile, options)
    return 0


def _units(experiment: Experiment, profile: Profile, options: RunOptions) -> "list[Unit]":
    if (found := kind_of(experiment).units) is None:
        raise UsageError(f"{experiment.key} is measured as a whole: python -m repro {' '.join(experiment.command)}")
    if profile.scorers:
        raise UsageError(
            f"queue distils the students of worlds that ship; in {profile.name} start `python -m repro "
            f"{' '.join(experiment.command)}` once for each GPU (--dry-run says how to train its students)"
        )
    return list(found(experiment, profile, options))


def _job(name: str, typed: argparse.Namespace) -> tuple[Experiment, Profile, RunOptions]:
    """A table as its own command would measure it."""
    experiment = load_experiment(name)
    words = [*experiment.command, *_same(typed)]
    if experiment.is_distilled and not load_profile(typed.profile or "mini").scorers:
        words += ["--retrain"]
    if typed.dry_run:
        words += ["--dry-run"]
    return _prepared(_parser().parse_args(words), words)


def _same(typed: argparse.Namespace) -> list[str]:
    """What was typed to a queue and holds for all of its tables."""
    given = {"--profile": typed.profile, "--device": typed.device, "--out": typed.out, "--work": typed.work}
    words = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return [*words, *(["--seeds", *map(str, typed.seeds)] if typed.seeds else [])]


def _measure(typed: argparse.Namespace, words: Sequence[str]) -> int:
    experiment, profile, options = _prepared(typed, words)
    if not options.dry_run:
        _refuse_unwritable(options)
    _measure_and_print(experiment, profile, options)
    return 0


def _prepared(typed: argparse.Namespace, words: Sequence[str]) -> tuple[Experiment, Profile, RunOptions]:
    """What was typed, checked as far as it can be before any work."""
    experiment = load_experiment(typed.experiment)
    kind = kind_of(experiment)
    profile = kind.choose_profile(experiment, typed, load_profile)
    if not kind.profile:
        student_seeds(profile, typed)  # what has no students refuses the same seeds as what has
    out = (typed.out or _root() / profile.output).absolute()  # parts run in folders of their own
    _refuse_uncommitted(profile, out)
    common = RunOptions(
        out=out,
        work=(typed.work or _root() / "results" / "stages").absolute(),
        device=typed.device,
        command=f"python -m repro {shlex.join(words)}",
        committed=_is_committed(out),
        replace=typed.replace or typed.out is None,  # the profile's own folder holds the newest
        dry_run=getattr(typed, "dry_run", False),
    )
    return experiment, profile, kind.make_options(experiment, profile, typed, common)


def _is_committed(out: Path) -> bool:
    return out.resolve().is_relative_to((_root() / COMMITTED).resolve())


def _refuse_uncommitted(profile: Profile, out: Path) -> None:
    if not profile.committed and _is_committed(out):
        raise UsageError(f"results of profile {profile.name!r} do not belong into {COMMITTED}; choose another --out")


def _refuse_unwritable(options: RunOptions) -> None:
    for folder in (options.out, options.work):
        probe_writable(folder)
    refuse_foreign(options.out / INDEX)


def _measure_and_print(experiment: Experiment, profile: Profile, options: RunOptions) -> None:
    from repro.stages.failures import told  # torch: not for --help

    kind = kind_of(experiment)
    with told(options.work):
        if options.dry_run and kind.plan is not None:
            from repro.harness import brief  # pandas: not for --help

            return terminal.show(brief.text(experiment, profile, options, kind.plan(experiment, profile, options)))
        kind.run(experiment, profile, options)
    if options.dry_run:
        return None
    _render(options.out)
    terminal.show_page(options.out / f"{profile.stem(experiment.key)}.md")


def _found(out: Path) -> "list[Entry]":
    """What the records of a results folder hold."""
    from repro.harness import render  # pandas: not for --help

    if not any((out / "records").glob("*.jsonl")):
        raise UsageError(f"no records in {out}; measure something first, for example: python -m repro table2")
    return render.results(out, load_experiment, load_profile, kind_of)


def _render(out: Path, *, check: bool = False) -> int:
    from repro.harness import render  # pandas: not for --help

    found = _found(out)
    for entry in found:
        _refuse_uncommitted(entry.result.profile, out)
    if not check:
        written = render.render(out, found)
        print(*[f"wrote {path}" for path in written] or [f"{out} is up to date"], sep="\n")
        return 0
    stale = render.check(out, found)
    for file in stale:
        print(f"stale: {file.path}: {file.reason}", file=sys.stderr)
    return 1 if stale else 0


def _list() -> int:
    found = {name: experiment.title for name, experiment in experiments().items()}
    found |= {name: f"profile: {load_profile(name).title}" for name in PROFILES}
    terminal.listing(found)
    return 0


def _root() -> Path:
    """The checkout when run from one, else the current folder."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


if __name__ == "__main__":
    sys.exit(main())
