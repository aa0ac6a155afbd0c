"""Which results are of toy scale, so that no export passes them off as results of the models of the paper."""

from repro.harness.profile import Profile

SMALLEST_SIDE = 256  # pixels; the benchmarks of text-to-image models begin here


def toy_scale(profile: Profile) -> str:
    """Why results of a profile are of toy scale, as one clause; empty where they are not."""
    side = profile.data.resolution
    return (
        f"toy scale: images of {side} px in {profile.title}, not of the paper's models" if side < SMALLEST_SIDE else ""
    )
