"""Says from what a figure of preferences would be made."""

from collections.abc import Mapping

from repro.harness.profile import Profile
from repro.kinds.preference.declare import PreferenceFigure
from repro.kinds.preference.measure import proxy_source
from repro.kinds.preference.options import PreferenceOptions
from repro.stages.failures import problem


def planned(figure: PreferenceFigure, profile: Profile, options: PreferenceOptions) -> Mapping[str, str]:
    """The plan of a figure, as names and words; nothing is sampled for one."""
    pairs = "; ".join(figure.label(pair) for pair in figure.pairs_of(profile))
    if options.votes is not None:
        return {"Pairs": pairs, "Read": f"votes of {options.votes}"}
    if missing := problem(lambda: proxy_source(figure, profile, options)):
        return {"Pairs": pairs, "Missing": missing}
    return {"Pairs": pairs, "Read": f"values per image of {proxy_source(figure, profile, options)}, a proxy for votes"}
