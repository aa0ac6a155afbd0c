"""Says of what a figure of the assessor's page would take pictures."""

from collections.abc import Mapping

from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.interface.declare import InterfaceFigure
from repro.kinds.interface.measure import WINDOWS, check
from repro.stages.failures import problem


def planned(figure: InterfaceFigure, profile: Profile, options: RunOptions) -> Mapping[str, str]:
    """The plan of a figure, as names and words."""
    systems = " and ".join(row.key for row in figure.systems)
    return {
        "Images": f"{figure.num_prompts * len(figure.systems)}, {figure.num_prompts} of each of {systems}",
        "Pictures": f"the page of one question in Chromium, {' and '.join(WINDOWS)}",
        "Missing": problem(lambda: check(figure, profile, options)),
    }
