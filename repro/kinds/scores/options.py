"""What the command line adds to a table of scores: which rows and students, whose images, or only a plan of it all."""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from repro.harness import arguments, overrides, settings
from repro.harness.experiment import ExperimentError, Row, UnknownNameError
from repro.harness.kind import FindProfile, UsageError, profile_with_metrics, student_seeds
from repro.harness.needs import TFLOPS
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.scores.declare import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresOptions(RunOptions):
    """Options of a table of scores.

    Args:
        seeds: training seeds of the students.
        retrain: distil the students, in place of the shipped adapters.
        keep: leave records alone that are there: students of a table over seeds do not ship, and to distil them
            again has to be asked for.
        rows: keys of those to measure, in table order; those of ``images`` come last.
        adapters: row -> folder of its student, in place of the released one.
        images: row -> folder of images that were sampled elsewhere; a name that the table does not have is a new row.
        tflops: of a GPU, for the plan.
        clock_batch: images of a timed batch in place of those that the table's clock declares.
    """

    seeds: tuple[int, ...] = (0,)
    retrain: bool = False
    keep: bool = False
    rows: tuple[str, ...] = ()
    adapters: Mapping[str, Path] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)
    tflops: float = TFLOPS
    clock_batch: int | None = None


def add_arguments(parser: ArgumentParser) -> None:
    """Rows, students, images of other systems, and the plan."""
    overrides.add_arguments(parser)
    group = parser.add_argument_group("what is measured (default: every row that can be)")
    group.add_argument("--rows", nargs="+", action="extend", metavar="ROW", help="measure these rows alone")
    group.add_argument(
        "--adapters",
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR|ROW=DIR",
        help="students of your own, by row or in its folder",
    )
    group.add_argument(
        "--images",
        nargs="+",
        action="extend",
        default=[],
        metavar="ROW=DIR",
        help="images of a system that was sampled elsewhere",
    )
    group.add_argument(
        "--clock-batch",
        type=arguments.whole,
        metavar="N",
        help="images of a timed batch (default: what the table's clock declares)",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="print models, work, disk and what is missing; do nothing"
    )
    group.add_argument(
        "--tflops",
        type=arguments.finite,
        default=TFLOPS,
        metavar="N",
        help=f"of your GPU, for --dry-run (default: {TFLOPS:g})",
    )


def choose_profile(table: Table, typed: Namespace, find: FindProfile) -> Profile:
    """The profile that was asked for, with what was typed.

    Raises:
        UsageError: it has no metrics, or a setting is out of range.
    """
    profile = profile_with_metrics(table, typed, find)
    try:
        profile = table.in_profile(profile)
    except ExperimentError as error:
        raise UsageError(str(error)) from error
    systems = (row.system for row in table.rows_in(profile.name) if row.system is not None)
    return overrides.changed(profile, typed, [source for system in systems for source in system.sources])


def make_options(table: Table, profile: Profile, typed: Namespace, common: RunOptions) -> ScoresOptions:
    """The rows and students that were asked for.

    Raises:
        UsageError: a row that the table does not have, a folder that is not there, or a part of a table or
            another one for the committed folder.
    """
    declared = {row.key: row for row in table.rows_in(profile.name)}
    images = {name: _folder("--images", path) for name, path in overrides.named_paths("--images", typed.images).items()}
    _refuse_near(table, images, declared)
    adapters = _adapters(declared, typed.adapters)
    for name in images.keys() & declared.keys():
        if declared[name].is_student and name in adapters:
            raise UsageError(f"row {name} has an adapter, {adapters[name]}, and images, {images[name]}: name one")
    rows = tuple(typed.rows or (*declared, *(name for name in images if name not in declared)))
    for name in rows:
        if name not in declared and name not in images:
            raise UsageError(str(UnknownNameError(f"row of {table.key}", name, [*declared, *images])))
    seeds, retrain = _students(table, profile, typed)
    if profile.scorers and (retrain or table.distils):
        raise UsageError(
            f"{table.key if table.distils else '--retrain'} distils the students of worlds that ship; for "
            f"{profile.name} train with python -m swd.train and name their folders with --adapters ROW=DIR"
        )
    if not typed.tflops > 0:
        raise UsageError(f"--tflops must be positive, got {typed.tflops:g}")
    settings.check_committed(typed, common)
    return ScoresOptions.extending(
        common,
        seeds=seeds,
        retrain=retrain,
        keep=_stands(table, profile, typed),
        rows=rows,
        adapters=adapters,
        images=images,
        tflops=typed.tflops,
        clock_batch=_clock_batch(table, typed.clock_batch),
    )


def _students(table: Table, profile: Profile, typed: Namespace) -> tuple[tuple[int, ...], bool]:
    """Training seeds, and whether students are distilled: a table over seeds says both where none are given."""
    if table.is_distilled and not typed.seeds and not profile.scorers:
        return table.seeds[: profile.most_seeds], True
    return student_seeds(profile, typed), typed.retrain


def _stands(table: Table, profile: Profile, typed: Namespace) -> bool:
    """Whether records that are there are not measured again: its students do not ship, and nothing else was asked."""
    asked = typed.retrain or typed.seeds or typed.replace or settings.changing(typed)
    return table.is_distilled and not profile.scorers and not asked


def _clock_batch(table: Table, typed: int | None) -> int | None:
    if typed is not None and (table.clock is None or typed < 1):
        times = "times nothing" if table.clock is None else "times batches of at least 1 image"
        raise UsageError(f"--clock-batch {typed}: {table.key} {times}")
    return typed


def _adapters(declared: Mapping[str, Row], words: list[str]) -> dict[str, Path]:
    """Each word is ``ROW=DIR``, or a folder with a folder for each of its rows."""
    found: dict[str, Path] = {}
    for name, path in overrides.named_paths("--adapters", [word for word in words if "=" in word]).items():
        if name not in declared or not declared[name].is_student:
            students = [key for key, row in declared.items() if row.is_student]
            raise UsageError(str(UnknownNameError("student", name, students)))
        found[name] = _folder("--adapters", path)
    for word in words:
        if "=" not in word:
            folder = _folder("--adapters", word)
            there = {key: folder / row.variant for key, row in declared.items() if (folder / row.variant).is_dir()}
            if not there:
                raise UsageError(f"--adapters {folder} has no folder of a row; expected one of {', '.join(declared)}")
            found = {**there, **found}
    return found


def _refuse_near(table: Table, images: Iterable[str], declared: Iterable[str]) -> None:
    """A name that is no row but reads like one is no new row either."""
    known = {_letters(key): key for key in declared}
    for name in images:
        if (key := known.get(_letters(name))) is not None and key != name:
            raise UsageError(f"--images: {table.key} has no row {name!r}; did you mean {key}?")


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _folder(option: str, path: str) -> Path:
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"{option}: {path} is no folder")
    return folder
