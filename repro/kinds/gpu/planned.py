"""Says what a page of a GPU would measure."""

from collections.abc import Mapping

from repro.harness.profile import Profile
from repro.kinds.gpu.declare import GpuPage
from repro.kinds.gpu.measure import missing
from repro.kinds.gpu.options import GpuOptions


def planned(page: GpuPage, profile: Profile, options: GpuOptions) -> Mapping[str, str]:
    """The plan of a page, as names and words."""
    parts = "; ".join(title for part, title in page.parts.items() if part in options.parts)
    return {
        "Work": f"{len(options.parts)} parts, in order, those that are finished left alone: {parts}",
        "Limit": f"{options.minutes:g} minutes of this call (`--minutes`); the same command goes on from there",
        "Missing": missing(page, profile, options),
    }
