"""What is printed: Markdown of pages, plans and reports as plain text that fits the terminal, at most 120 columns.

Pages themselves stay as they are. Words longer than the terminal is wide, such as paths, are left whole.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import TextIO

MOST, LEAST = 120, 60  # columns
ASIDE = ("In detail", "Figure", "Figures", "Make it again")  # sections of a page that are not printed
MARKS = re.compile(r"^(> ?|- |\d+\. )?")
RULED = re.compile(r"\|.*\|\n\|[ :|-]+\|(\n|$)")
CODE = re.compile(r"(`[^`\n]*`)")
LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
EMPHASIS = re.compile(r"\*\*(.+?)\*\*|(?<![\w*])\*(\S(?:[^*]*\S)?)\*(?![\w*])")
SHIELD = str.maketrans("*[]()", "\ue000\ue001\ue002\ue003\ue004")  # private characters: marks inside code are none
UNSHIELD = {shield: mark for mark, shield in SHIELD.items()}


def show(markdown: str, file: TextIO | None = None) -> None:
    """Print Markdown as text that fits."""
    print(fitted(markdown), file=file or sys.stdout, flush=True)


def show_page(path: Path) -> None:
    """Print the tables and verdicts of a page, and where the whole of it lies."""
    show(compact(path.read_text(encoding="utf-8")))
    print(f"\nThe whole page: {path}", flush=True)


def say(text: str, file: TextIO | None = None) -> None:
    """Print lines; what does not fit goes on below, further right."""
    lines = [_hanging(line, "    ", columns()) for line in text.rstrip("\n").splitlines()]
    print("\n".join(lines), file=file or sys.stdout, flush=True)


def listing(named: Mapping[str, str]) -> None:
    """Print names and what they mean, in two columns."""
    width = max(map(len, named), default=0) + 2
    print(
        "\n".join(_hanging(f"{name:<{width}}{text}", " " * width, columns()) for name, text in named.items()),
        flush=True,
    )


def columns() -> int:
    """Of the terminal, between 60 and 120; 120 where there is none."""
    return max(LEAST, min(MOST, shutil.get_terminal_size((MOST, 24)).columns))


def fitted(markdown: str, width: int | None = None) -> str:
    """Markdown as plain text: tables laid out, all else wrapped, emphasis and targets of links left out."""
    most = columns() if width is None else width
    return "\n\n".join(_fitted(block, most) for block in _split(markdown))


def compact(page: str) -> str:
    """Of a page its introduction, and below that its headings, tables and their footnotes."""
    kept, section = [], None
    for block in _split(page):
        if block.startswith("## "):
            section = block.removeprefix("## ")
        if section not in ASIDE and not block.startswith("![") and (section is None or _is_result(block)):
            kept.append(block)
    return "\n\n".join(_without_empty(kept)) + "\n"


def _split(markdown: str) -> list[str]:
    """Blocks between empty lines; a fence of code is one block."""
    parts = re.split(r"^(```.*?^```)$", markdown, flags=re.MULTILINE | re.DOTALL)
    blocks = [[part] if part.startswith("```") else re.split(r"\n\s*\n", part) for part in parts]
    return [block.strip("\n") for found in blocks for block in found if block.strip()]


def _is_result(block: str) -> bool:
    from repro.harness.claim_words import RULE  # pandas: not for a listing

    return block.startswith(("#", "- (", "*")) or (_is_table(block) and block not in RULE)


def _without_empty(blocks: list[str]) -> Iterator[str]:
    """Without headings that nothing follows."""
    for block, after in zip(blocks, [*blocks[1:], "# "], strict=True):
        level, below = (len(text) - len(text.lstrip("#")) for text in (block, after))
        if not (block.startswith("## ") and 0 < below <= level):
            yield block


def _is_table(block: str) -> bool:
    return RULED.match(block) is not None


def _fitted(block: str, width: int) -> str:
    if block.startswith("```"):
        return "\n".join(_command(line, width) for line in block.splitlines()[1:-1])
    if not _is_table(block):
        return "\n".join(_wrapped(text, width) for text in _paragraphs(block))
    from repro.harness import terminal_table  # not for a listing

    grid = terminal_table.read(_plain(block))
    return (terminal_table.listed if grid.heads[0] == "Verdict" else terminal_table.laid_out)(grid, width)


def _plain(text: str) -> str:
    """Without emphasis and targets of links, but where code stands between backticks."""
    shielded = CODE.sub(lambda code: code[0].translate(SHIELD), text)
    bare = EMPHASIS.sub(lambda found: found[1] or found[2], LINK.sub(r"\1", shielded))
    return bare.translate(UNSHIELD)


def _paragraphs(block: str) -> Iterator[str]:
    """Lines that belong together as one: those of a quotation or a paragraph, and each point of a list."""
    found: list[str] = []
    for line in block.splitlines():
        mark = MARKS.match(line)
        starts = not found or line.startswith(("- ", "#")) or bool(mark and mark[0][:1].isdigit())
        if starts or line.strip() == ">" or found[-1].strip() == ">":
            found.append(line)
        else:
            found[-1] += " " + (line.removeprefix("> ") if found[-1].startswith("> ") else line.strip())
    yield from found


def _wrapped(text: str, width: int) -> str:
    mark = MARKS.match(text)
    indent = (mark[0] if mark[0].startswith(">") else " " * len(mark[0])) if mark else ""
    lines = wrap(_plain(text), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) or text.rstrip()


def _hanging(line: str, indent: str, width: int) -> str:
    if len(line) <= width:
        return line
    start = line[: len(line) - len(line.lstrip())]
    kept = wrap(line, width, subsequent_indent=start + indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(kept)


def _command(line: str, width: int) -> str:
    """A line of a shell; one that is too long goes on behind a backslash, at a space outside quotes."""
    if len(line) <= width or line.startswith("#"):
        return _hanging(line, "# ", width)
    lines = [""]
    for word in _words(line):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, posix=False)
    except ValueError:  # a quotation that does not end
        return line.split(" ")
