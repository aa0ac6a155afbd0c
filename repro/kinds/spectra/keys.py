"""What the numbers of a figure of spectra are called in its records. The variant is the key of a ``Panel``.

Curves give power over frequency, in cycles per sample; noise levels are timesteps, 1000 sigma.
"""

PUBLISHED = "published"  # variant of the published schedules
CLEAN = "clean"  # curve: measured spectrum of the clean samples
EXPONENT = "exponent"  # record: exponent of the power law fitted to that spectrum
FIT = "power_law_fit"  # record: R^2 of that fit
FALL = "least_octave_fall"  # record: the least fall of power from an octave to the next, in dB


def without_block(metric: str) -> str:
    """A number without each group of images in turn: a series over groups."""
    return f"{metric}_without_block"


def noisy(timestep: int) -> str:
    """Measured spectrum of x_t: a curve."""
    return f"noisy_t{timestep}"


def expected(timestep: int) -> str:
    """Spectrum of x_t as the clean one and the noise level give it: a curve."""
    return f"expected_t{timestep}"


def signal(timestep: int) -> str:
    """What is left of the clean spectrum in x_t, the expected one less that of the noise: a curve."""
    return f"signal_t{timestep}"


def safe_side(timestep: int) -> str:
    """Smallest side that loses nothing which noise does not mask, in samples: a record."""
    return f"safe_side_t{timestep}"


def sigmas(preset: str) -> str:
    """Noise level at the start of every step of a preset, in [0, 1]: a series over steps."""
    return f"sigmas_{preset}"


def scales(preset: str) -> str:
    """Latent side of every step at the sigmas of a preset, published or proposed by a spectrum: a series over steps."""
    return f"scales_{preset}"
