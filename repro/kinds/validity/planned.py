"""Says on which images a page would try metrics."""

from collections.abc import Mapping

from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.validity.declare import ValidityPage
from repro.kinds.validity.measure import check
from repro.stages.failures import problem


def planned(page: ValidityPage, profile: Profile, options: RunOptions) -> Mapping[str, str]:
    """The plan of a page, as names and words."""
    sampled = [condition for condition in page.conditions if condition.row is not None]
    count = sum(number for _, number in page.images)
    return {
        "Metrics": f"{len(page.candidates)} on {len(page.conditions)} kinds of images, {count} each",
        "Sampling": f"{len(sampled) * count} images: {', '.join(condition.label for condition in sampled)}",
        "Missing": problem(lambda: check(page, profile, options)),
    }
