"""A prompt file of the user's own: a prompt in each line (.txt), CSV, TSV or JSONL with a column ``caption``."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from repro.worlds.prompts.entry import PromptEntry, PromptFileError, checked, clean
from repro.worlds.prompts.lines import read_objects
from repro.worlds.prompts.rows import read_rows
from repro.worlds.prompts.text import read_text

ALIASES: Mapping[str, tuple[str, ...]] = {
    "caption": ("caption", "prompt", "text"),
    "id": ("id", "uid", "image_id", "name"),
    "category": ("category",),
    "image": ("file_name", "image"),
}
ENDINGS = (".txt", ".csv", ".tsv", ".jsonl")


def read_plain(path: Path) -> list[PromptEntry]:
    """Prompts; without a column of ids, the number of the prompt from 0 is its id.

    Raises:
        PromptFileError: another ending, no column of captions, or a line that is not as expected.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise PromptFileError(f"{path} ends in {ending!r}; expected one of {', '.join(ENDINGS)}")
    if ending == ".txt":
        lines = re.split(r"\r\n|\r|\n", read_text(path))  # splitlines would also split at separators inside a caption
        rows: Iterator[tuple[int, Mapping[str, str]]] = (
            (number, {"caption": line}) for number, line in enumerate(lines, 1) if line.strip()
        )
    elif ending == ".jsonl":
        rows = _objects(path)
    else:
        rows = read_rows(path, ALIASES, required=["caption"], tab=ending == ".tsv")
    return checked(path, _entries(rows))


def _objects(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    for number, value in read_objects(path):
        row = {}
        for ours, theirs in ALIASES.items():
            if name := next((name for name in theirs if name in value), None):
                row[ours] = str(value[name])
        if "caption" not in row:
            wanted = " or ".join(map(repr, ALIASES["caption"]))
            raise PromptFileError(f"{path}, line {number}: no {wanted} in {', '.join(map(repr, value))}")
        yield number, row


def _entries(rows: Iterator[tuple[int, Mapping[str, str]]]) -> Iterator[tuple[int, PromptEntry]]:
    for count, (number, row) in enumerate(rows):
        category, image = (row.get(name, "").strip() or None for name in ("category", "image"))
        found = row.get("id", str(count)).strip()
        yield number, PromptEntry(id=found, caption=clean(row["caption"]), category=category, image=image)
