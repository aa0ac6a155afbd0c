"""A Markdown table as text that fits a terminal: cells wrap, and columns that do not fit stand below, in blocks.

Nothing is left out and no word is cut, so no number is: a table is laid out again, not shortened.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from tabulate import SEPARATING_LINE, tabulate

GAP = 2  # between columns
NUMBERS = 28  # cells of numbers up to this long are never wrapped
WORDS, TIGHT = 24, 14  # nor those of words; tightly where all columns then stand in one block
MOST_KEYS = 3
GLUED = "\u00a0"
KEPT_TOGETHER = re.compile(  # intervals, what follows a sign, and a remark or an arrow with the word before it
    r"\[[^\[\]]{1,28}\]|(?:\w{1,2} )?[<>=\u2264\u2265\u00b1] ?[\d.,]+|\S+ (?:\([a-z]{1,2}\)|\u2191|\u2193)(?= |$)"
)


@dataclass(frozen=True, slots=True)
class Grid:
    """A table that was read: one text per cell, rows as long as the heads, ``right`` where a column holds numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]

    def pick(self, places: Sequence[int]) -> "Grid":
        """Some of its columns."""
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return Grid(tuple(self.heads[i] for i in places), rows, tuple(self.right[i] for i in places))

    @property
    def columns(self) -> list[tuple[str, ...]]:
        """The cells below each head."""
        return [tuple(row[place] for row in self.rows) for place in range(len(self.heads))]


def read(block: str) -> Grid:
    """A Markdown table: heads, alignment, and a line for each row."""
    heads, align, *rows = [_cells(line) for line in block.splitlines()]
    full = tuple((*row, *[""] * (len(heads) - len(row)))[: len(heads)] for row in rows)
    return Grid(tuple(heads), full, tuple(mark.endswith(":") for mark in align))


def laid_out(grid: Grid, width: int) -> str:
    """The table in lines of at most ``width``, as long as no single word with its row's name is longer."""
    return "\n\n".join(_drawn(grid.pick(places), width) for places in _blocks(grid, width))


def listed(grid: Grid, width: int) -> str:
    """Every row as a paragraph: its first two cells, then the others, each with its head."""
    return "\n".join(_listed(grid.heads, row, width) for row in grid.rows)


def _listed(heads: Sequence[str], row: Sequence[str], width: int) -> str:
    named = [f"{head}: {cell}" for head, cell in zip(heads[2:], row[2:], strict=True) if cell]
    more = "; ".join(text.replace(" ", GLUED) if len(text) <= width // 3 else text for text in named)
    text = f"{row[0]}: {row[1]}. {more}"
    lines = wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(GLUED, " ")


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def _glue(text: str) -> str:
    """Spaces at which a number would lose its interval's other end or its remark do not break."""
    return KEPT_TOGETHER.sub(lambda found: found[0].replace(" ", GLUED), text)


def _longest(texts: Sequence[str]) -> int:
    return max((len(word) for text in texts for word in _glue(text).split(" ")), default=0)


def _least(grid: Grid, words: int) -> list[int]:
    """The widths that columns need: heads wrap first, then words, numbers last."""
    return [
        max(_longest((head, *cells)), min(max(map(len, cells), default=0), NUMBERS if right else words))
        for head, cells, right in zip(grid.heads, grid.columns, grid.right, strict=True)
    ]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _keys(grid: Grid) -> int:
    """How many of the first columns it takes to tell the rows apart."""
    for count in range(1, min(MOST_KEYS, len(grid.heads)) + 1):
        if len({row[:count] for row in grid.rows}) == len(grid.rows):
            return count
    return 1


def _blocks(grid: Grid, width: int) -> Iterator[list[int]]:
    """Places of the columns of every block; each begins with the columns that name the row."""
    if _total(_least(grid, TIGHT)) <= width:
        yield list(range(len(grid.heads)))
        return
    least = _least(grid, WORDS)
    keys = list(range(_keys(grid)))
    block = list(keys)
    for place in range(len(keys), len(grid.heads)):
        if len(block) > len(keys) and _total([least[i] for i in (*block, place)]) > width:
            yield block
            block = list(keys)
        block.append(place)
    yield block


def _widths(grid: Grid, width: int) -> list[int]:
    """The least that columns need; what room there is goes to the column whose texts take most lines."""
    texts = [(head, *cells) for head, cells in zip(grid.heads, grid.columns, strict=True)]
    natural = [max(map(len, column)) for column in texts]
    tries = (*(_least(grid, words) for words in (WORDS, TIGHT)), [_longest(column) for column in texts])
    found = next((widths for widths in tries if _total(widths) <= width), tries[-1])
    for _ in range(width - _total(found)):
        lines = [whole / at if at < whole else 0 for whole, at in zip(natural, found, strict=True)]
        if not any(lines):
            break
        found[lines.index(max(lines))] += 1
    return found


def _drawn(grid: Grid, width: int) -> str:
    widths = _widths(grid, width)
    heads, *rows = [
        [_wrapped(cell, at, right) for cell, at, right in zip(row, widths, grid.right, strict=True)]
        for row in (grid.heads, *grid.rows)
    ]
    align = ["right" if right else "left" for right in grid.right]
    # Heads as a row: tabulate gives real ones two more columns. Without disable_numparse it would read "0.230" as a
    # number and drop the zero.
    text: str = tabulate([heads, SEPARATING_LINE, *rows], tablefmt="simple", colalign=align, disable_numparse=True)
    return "\n".join(line.rstrip() for line in text.replace(GLUED, " ").splitlines())


def _wrapped(cell: str, width: int, right: bool) -> str:
    indent = "" if right or width < WORDS // 2 else GLUED * 2
    lines = wrap(_glue(cell), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)
