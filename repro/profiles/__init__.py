"""Profiles: the worlds a table can be measured in. Each module declares ``PROFILE`` and imports no torch."""

from importlib import import_module

from repro.harness.experiment import UnknownNameError
from repro.harness.profile import Profile

PROFILES = {  # name -> module that declares PROFILE
    "mini": "repro.profiles.mini",
    "smoke": "repro.profiles.smoke",
    "sd35-medium": "repro.profiles.sd35_medium",
    "sd35-medium-tiny-vae": "repro.profiles.sd35_medium_tiny_vae",
    "sd35-large": "repro.profiles.sd35_large",
    "sdxl": "repro.profiles.sdxl",
    "sdxl-tiny-vae": "repro.profiles.sdxl_tiny_vae",
    "flux": "repro.profiles.flux",
}


def load_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UnknownNameError: no such profile; the message lists the nearest names.
    """
    if name not in PROFILES:
        raise UnknownNameError("profile", name, PROFILES)
    profile: Profile = import_module(PROFILES[name]).PROFILE
    return profile
