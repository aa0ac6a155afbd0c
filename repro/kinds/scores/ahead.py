"""What a measurement says before it starts: how much there is to do, and how long it took when the page was made."""

from pathlib import Path

from repro.harness.profile import Profile
from repro.harness.records import load
from repro.harness.schema import RecordError

TRIAL = "smoke"  # a world in which the whole way takes minutes


def ahead(records: Path, sets: int, profile: Profile) -> str:
    """One line for a terminal.

    Args:
        records: file that the measurement will write, or write again.
        sets: of images that it makes or finds finished, and scores.
        profile: in which it is measured.
    """
    line = f"{sets} sets of images to make, or to find finished, and to score"
    if (taken := _taken(records)) is not None:
        minutes, device = taken
        line += f"; {records} stands until they are, and took {minutes:.0f} min on {device}"
    if profile.name == "mini":
        line += f"; --profile {TRIAL} goes the whole way in minutes"
    return line


def _taken(records: Path) -> tuple[float, str] | None:
    """Minutes and device of the last measurement, if it did all of its work itself."""
    try:
        run = load(records).runs[0]
    except (RecordError, IndexError):
        return None
    return None if run.stage_commits else (run.wall_seconds / 60, run.device)
