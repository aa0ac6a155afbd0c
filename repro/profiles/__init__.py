"""Profiles: the worlds a table can be measured in. Each module declares ``PROFILE`` and imports no torch."""

from importlib import import_module

from repro.harness.experiment import Profile, UnknownNameError

PROFILES = {"mini": "repro.profiles.mini", "smoke": "repro.profiles.smoke"}  # name -> module that declares PROFILE


def load_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UnknownNameError: no such profile; the message lists the nearest names.
    """
    if name not in PROFILES:
        raise UnknownNameError("profile", name, PROFILES)
    profile: Profile = import_module(PROFILES[name]).PROFILE
    return profile
