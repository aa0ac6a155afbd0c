"""Whether an adapter that somebody names for a row is the student of this row, by what its header says."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from repro.harness.experiment import ExperimentError, Row
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.systems import HubFile


def check_recipe(row: Row, rows: Iterable[Row], profile: Profile, header: Mapping[str, Any]) -> None:
    """Refuse a student that was trained as another row of the table is.

    Only options in which rows differ are compared: how long and on what to train is everybody's own.

    Args:
        row: whose images the adapter is to make.
        rows: of the table in this profile.
        profile: in which it is measured.
        header: of the adapter; one that says nothing of its training passes.

    Raises:
        ExperimentError: it is; names the options, and the row that has them where there is one.
    """
    said = header.get("config")
    if not isinstance(said, Mapping) or row.train is None:
        return
    students = [other for other in rows if other.train is not None]
    if not (wrong := _differing(row, students, profile, said)):
        return
    same = [
        other.key
        for other in students
        if resolve(profile, other).training.preset == said.get("preset")
        and not _differing(other, students, profile, said)
    ]
    instead = f"; it is that of row {same[0]}: --adapters {same[0]}=DIR" if same else ""
    raise ExperimentError(f"row {row.key}: this adapter was trained with {', '.join(wrong)}{instead}")


def check_base(row: Row, base: HubFile, said: str | None) -> None:
    """Refuse a student of another base model, by the last part of its name: what stands before may be a folder.

    Raises:
        ExperimentError: it is.
    """
    names = [name for name in (said, base.repo) if name and name.count("/") == 1 and not Path(name).exists()]
    if len(names) == 2 and Path(names[0]).name.lower() != Path(names[1]).name.lower():
        raise ExperimentError(
            f"row {row.key}: this adapter says that it is a student of {names[0]}, and the base is {names[1]}: name "
            "its own with --pipeline"
        )


def _differing(row: Row, students: Iterable[Row], profile: Profile, said: Mapping[str, Any]) -> list[str]:
    """Options that rows of the table set, and that the student had otherwise than this row."""
    wanted = resolve(profile, row).training.as_json()
    set_by_rows = {option for other in students for option in other.train or {}} - {"schedule"}
    names = sorted(set_by_rows & wanted.keys() & said.keys())
    return [f"{name} {said[name]}, not {wanted[name]}" for name in names if said[name] != wanted[name]]
