"""What the command line adds to an experiment and a profile."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line adds to a table and a profile.

    Args:
        out: output folder: records, pages and figures.
        work: folder of the stage store (images, adapters, metric values); survives and is reused.
        seeds: training seeds of the students.
        retrain: distil the students again in place of the shipped adapters.
        device: torch device, or "auto".
        command: what was typed, for the records.
    """

    out: Path
    work: Path
    seeds: tuple[int, ...] = (0,)
    retrain: bool = False
    device: str = "auto"
    command: str = ""
