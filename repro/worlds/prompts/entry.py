"""One prompt of a file, and what all files are held to: ids that differ, captions that say something."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.harness.experiment import ExperimentError


class PromptFileError(ExperimentError):
    """A prompt file or its references are missing, or not what was expected; the message names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEntry:
    """A prompt, before it is given seeds.

    Attributes:
        id: unique in its file.
        caption: not empty, runs of white space as one space. The tokenizers of CLIP and T5 see no difference.
        category: of the benchmark's own division.
        kind: of a second division.
        image: file name of the real image behind the caption, with or without an ending and folder.
        geneval: the object of GenEval's file.
    """

    id: str
    caption: str
    category: str | None = None
    kind: str | None = None
    image: str | None = None
    geneval: Mapping[str, Any] | None = None


def clean(caption: str) -> str:
    """A caption on one line; what it says is left alone."""
    return " ".join(caption.split())


def checked(path: Path, numbered: Iterable[tuple[int, PromptEntry]], unit: str = "line") -> list[PromptEntry]:
    """The entries of a file, in its order.

    Args:
        path: named in messages.
        numbered: entries with the line they stand in.
        unit: what the numbers count, for messages.

    Raises:
        PromptFileError: an empty caption or id, an id for the second time, or no entry at all.
    """
    entries, seen = [], dict[str, int]()
    for number, entry in numbered:
        if not entry.caption:
            raise PromptFileError(f"{path}, {unit} {number}: the caption is empty; expected some text")
        if not entry.id:
            raise PromptFileError(f"{path}, {unit} {number}: the id is empty; expected a name or number")
        if entry.id in seen:
            raise PromptFileError(
                f"{path}, {unit} {number}: id {entry.id!r} stands in {unit} {seen[entry.id]} too; expected each once"
            )
        seen[entry.id] = number
        entries.append(entry)
    if not entries:
        raise PromptFileError(f"{path} holds no prompts; expected at least one")
    return entries
