"""Rows of CSV and TSV files, with the line each begins in and columns found under any of their usual names."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from repro.worlds.prompts.entry import PromptFileError
from repro.worlds.prompts.text import read_text

Row = Mapping[str, str]


def read_rows(
    path: Path, aliases: Mapping[str, Sequence[str]], *, required: Sequence[str], tab: bool = False
) -> Iterator[tuple[int, Row]]:
    """Rows by our names of columns, each with its first line counted from 1.

    CSV is quoted as RFC 4180 says, so that a caption may hold commas, quotes and line ends. TSV is not quoted at all:
    a field is what stands between tabs (a caption of PartiPrompts begins and goes on with a quotation mark).

    Args:
        path: the file.
        aliases: our name of a column -> names it has in files, compared without case; the first that is there wins.
        required: of our names, those without which nothing can be read.
        tab: whether it is TSV.

    Raises:
        PromptFileError: a required column is missing or stands twice, a row is short or long, or a quote stays open.
    """
    numbered = _numbered(path, tab=tab)
    _, header = next(numbered)
    columns = _columns(path, header, aliases, required)
    for line, cells in numbered:
        if not any(cell.strip() for cell in cells):
            continue  # a blank line, at the end above all
        if len(cells) != len(header):
            raise PromptFileError(
                f"{path}, line {line}: {len(cells)} fields; expected {len(header)} as in the header {_shown(header)}"
            )
        yield line, {name: cells[index] for name, index in columns.items()}


def _numbered(path: Path, *, tab: bool) -> Iterator[tuple[int, list[str]]]:
    stream = io.StringIO(read_text(path), newline="")
    dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tab else {"strict": True}
    reader = csv.reader(stream, **dialect)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise PromptFileError(f"{path}, row that begins in line {line}: {error}; is a quote not closed?") from error
        if cells is None:
            return
        yield line, cells
        line = reader.line_num + 1


def _columns(
    path: Path, header: Sequence[str], aliases: Mapping[str, Sequence[str]], required: Sequence[str]
) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    found: dict[str, int] = {}
    for ours, theirs in aliases.items():
        there = [name for name in theirs if name.lower() in names]
        if not there and ours in required:
            raise PromptFileError(f"{path}, line 1: no column {' or '.join(map(repr, theirs))} in {_shown(header)}")
        if there and names.count(there[0].lower()) > 1:
            raise PromptFileError(
                f"{path}, line 1: column {there[0]!r} stands twice in {_shown(header)}; expected once"
            )
        if there:
            found[ours] = names.index(there[0].lower())
    return found


def _shown(header: Sequence[str]) -> str:
    text = ", ".join(map(repr, header))
    return text if len(text) <= 200 else f"{text[:200]}..."
