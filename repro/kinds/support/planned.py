"""Says which models a page of memory would count."""

from collections.abc import Mapping

from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.support.declare import SupportPage


def planned(page: SupportPage, profile: Profile, options: RunOptions) -> Mapping[str, str]:
    """The plan of a page, as names and words."""
    names = ", ".join(model.title for model in page.models)
    return {"Work": f"memory of {len(page.models)} models, counted on architectures without weights: {names}"}
