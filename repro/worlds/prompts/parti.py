"""PartiPrompts (Yu et al., 2022): `PartiPrompts.tsv`, 1,632 prompts by category and challenge.

Columns Prompt, Category, Challenge and Note, not quoted: one prompt begins with the words "G I G G L E" in quotation
marks, which a reader of quoted CSV would take away. There are no ids; the number of the prompt from 0 is one, as long
as the file is the published one.
"""

from pathlib import Path

from repro.worlds.prompts.entry import PromptEntry, checked, clean
from repro.worlds.prompts.rows import read_rows

ALIASES = {"caption": ("Prompt",), "category": ("Category",), "kind": ("Challenge",)}


def read_parti(path: Path) -> list[PromptEntry]:
    """Prompts with category ("Animals") and, as ``kind``, challenge ("Complex").

    Raises:
        PromptFileError: a column is missing, or a line is not as expected.
    """
    rows = read_rows(path, ALIASES, required=tuple(ALIASES), tab=True)
    numbered = (
        (
            line,
            PromptEntry(id=f"{index:04d}", caption=clean(row["caption"]), category=row["category"], kind=row["kind"]),
        )
        for index, (line, row) in enumerate(rows)
    )
    return checked(path, numbered)
