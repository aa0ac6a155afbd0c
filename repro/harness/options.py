"""What the command line adds to an experiment and a profile, whatever its kind."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

COMMITTED = "paper_tables"  # the results folder whose pages are committed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What every kind of experiment is run with; kinds that ask for more extend it.

    Args:
        out: output folder: records, pages and figures.
        work: folder of the stage store (images, adapters, metric values); survives and is reused.
        device: torch device, or "auto".
        command: what was typed, for the records.
        replace: whether the records of other settings in ``out`` may be replaced.
        dry_run: print what would be done, and do nothing; for kinds that have such a plan.
        committed: whether ``out`` lies in the committed results folder, where only what a profile stands for belongs.
    """

    out: Path
    work: Path
    device: str = "auto"
    command: str = ""
    committed: bool = False
    replace: bool = False
    dry_run: bool = False

    @classmethod
    def extending(cls, common: "RunOptions", **own: Any) -> Self:
        """The options of every kind, and a kind's own."""
        return cls(**{field.name: getattr(common, field.name) for field in fields(RunOptions)}, **own)
