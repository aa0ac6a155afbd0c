"""Votes that were made in Label Studio: the JSON that it exports from a project of pairs of images.

A task's ``data`` names what was shown: ``prompt``, ``image`` (a number), ``criterion``, ``left`` and ``right`` (keys of
systems), and may have ``expected`` (of an attention check) and ``study``; addresses of the two images, and whatever
else a project shows, may stand beside them under any other name. Every annotation is one vote: the ``pairwise`` tag
gives ``left`` or ``right``. That tag knows no tie; Label Studio asks it by a ``choices`` tag beside it, whose one
choice is called tie, equal or same. ``completed_by`` is the assessor, ``lead_time`` the seconds. Cancelled
annotations are no votes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.harness.votes.files import VoteError, unique, vote_of
from repro.harness.votes.vote import Vote

DATA = ("prompt", "image", "criterion", "left", "right")
TIES = frozenset({"tie", "equal", "same"})


def parse(text: str, path: Path) -> tuple[Vote, ...]:
    """The votes of an export; a study without a name is called after the file.

    Raises:
        VoteError: not such an export, or the first annotation that is no vote: its place is given as the number of the
            task in the file, from 1.
    """
    try:
        tasks = json.loads(text)
    except json.JSONDecodeError as error:
        raise VoteError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except RecursionError:
        raise VoteError(f"{path}: not JSON of Label Studio (nested too deeply)") from None
    if not isinstance(tasks, list):
        raise VoteError(f"{path}: expected a list of tasks, as Label Studio exports it, got {type(tasks).__name__}")
    found: list[tuple[int, Vote]] = []
    for number, task in enumerate(tasks, start=1):
        try:
            found += [(len(found) + place, vote) for place, vote in enumerate(_votes(task, path.stem))]
        except ValueError as error:
            raise VoteError(f"{path}: task {number}: {error}") from None
    try:
        return unique(found, path)
    except VoteError as error:
        raise VoteError(f"{error} (lines count annotations here)") from None


def _votes(task: object, study: str) -> Iterator[Vote]:
    if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
        raise ValueError("expected an object with data")
    data: Mapping[str, Any] = task["data"]
    if absent := [name for name in DATA if name not in data]:
        raise ValueError(f"data without {absent[0]!r}; expected {', '.join(DATA)}")
    shown = {"study": study, **{name: data[name] for name in (*DATA, "study", "expected") if name in data}}
    if isinstance(shown["image"], str) and shown["image"].isdecimal():
        shown["image"] = int(shown["image"])  # of tasks that were imported from a CSV
    for annotation in task.get("annotations", ()):
        if not annotation.get("was_cancelled", False):
            yield vote_of({**shown, **_answer(annotation)})


def _answer(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Choice, assessor and seconds of an annotation."""
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("id") or who.get("email")  # the number tells less of a person
    if who in (None, ""):
        raise ValueError("an annotation without completed_by")
    seconds = annotation.get("lead_time")
    if seconds is None:
        raise ValueError(f"an annotation of {who} without lead_time")
    return {"choice": _choice(annotation.get("result", ())), "assessor": str(who), "seconds": seconds}


def _choice(results: Sequence[Mapping[str, Any]]) -> str:
    chosen = []
    for result in results:
        value = result.get("value", {})
        if result.get("type") == "pairwise":
            chosen.append(value.get("selected"))
        elif result.get("type") == "choices":
            chosen += ["tie" if str(one).lower() in TIES else one for one in value.get("choices", ())]
    if len(chosen) != 1 or chosen[0] not in ("left", "right", "tie"):
        raise ValueError(f"expected one of left, right, tie from an annotation, got {chosen!r:.60}")
    return str(chosen[0])
