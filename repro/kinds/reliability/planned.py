"""Says which faults a page would inject."""

from collections.abc import Mapping

from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.reliability.declare import ReliabilityPage


def planned(page: ReliabilityPage, profile: Profile, options: RunOptions) -> Mapping[str, str]:
    """The plan of a page, as names and words."""
    kinds = "; ".join(f"{fault.title}: {fault.count}" for fault in page.faults)
    return {"Work": f"{sum(fault.count for fault in page.faults)} faults in runs of a tiny world, all anew: {kinds}"}
