"""What the command line adds to an experiment and a profile."""

from dataclasses import dataclass
from pathlib import Path

from repro.kinds.latency.declare import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line adds to a table or figure and a profile.

    Args:
        out: output folder: records, pages and figures.
        work: folder of the stage store (images, adapters, metric values); survives and is reused.
        seeds: training seeds of the students.
        retrain: distil the students again in place of the shipped adapters.
        device: torch device, or "auto".
        command: what was typed, for the records.
        images: folder of images for a figure of spectra; None for what the profile has.
        pipeline: folder or hub name in place of the profile's, for spectra and times; empty for the profile's.
        random_weights: the true architecture without its weights: shows that it runs and how long, measures nothing.
        protocol: how a table of times is measured; None for what has none.
    """

    out: Path
    work: Path
    seeds: tuple[int, ...] = (0,)
    retrain: bool = False
    device: str = "auto"
    command: str = ""
    images: Path | None = None
    pipeline: str = ""
    random_weights: bool = False
    protocol: Protocol | None = None
