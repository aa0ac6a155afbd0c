"""What a measurement says before it starts: how much there is to do, and how long it took when the page was made."""

from pathlib import Path

from repro.harness.brief import taken
from repro.harness.profile import Profile

TRIAL = "smoke"  # a world in which the whole way takes minutes


def ahead(records: Path, sets: int, profile: Profile) -> str:
    """One line for a terminal.

    Args:
        records: file that the measurement will write, or write again.
        sets: of images that it makes or finds finished, and scores.
        profile: in which it is measured.
    """
    line = f"{sets} sets of images to make, or to find finished, and to score"
    if (before := taken(records)) is not None:
        seconds, device = before
        line += f"; {records} stands until they are, and took {seconds / 60:.0f} min on {device}"
    if profile.name == "mini":
        line += f"; --profile {TRIAL} goes the whole way in minutes"
    return line
