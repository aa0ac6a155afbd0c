"""What a figure of spectra is, as data: which latents or images, at which noise levels."""

from dataclasses import dataclass
from typing import Literal

from repro.harness.experiment import Column, Experiment, UnknownNameError
from repro.harness.profile import Profile
from repro.kinds.spectra import keys

EXPONENT = Column(keys.EXPONENT, "Exponent of the power law", digits=2)

FOLDER = "folder"  # source of a user's images; the others are the world's


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: the spectra of one kind of latent or image.

    Args:
        key: variant in the records.
        label: title of the panel and of its row in the table.
        source: which images of the profile's world, or ``FOLDER``.
        space: latents of the profile's VAE, or the pixels themselves.
    """

    key: str
    label: str
    source: str
    space: Literal["latents", "pixels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectraFigure(Experiment):
    """Spectra of clean, noisy and pure-noise latents, and how small a latent each noise level allows.

    Args:
        timesteps: noise levels, 1000 sigma.
        panels: all that can be shown; a run measures those whose images it has.
        images: most images of a panel.
        fractions: lower resolutions marked in the panels, as fractions of the side.
        schedules: presets, without the profile's prefix, whose sigmas give a schedule by the spectrum.
        reading: what the paper reads off its figure.
    """

    panels: tuple[Panel, ...]
    timesteps: tuple[int, ...]
    images: int
    fractions: tuple[float, ...]
    schedules: tuple[str, ...]
    reading: str

    def safe_side(self, timestep: int) -> Column:
        """The column of the smallest safe side at a noise level."""
        return Column(keys.safe_side(timestep), f"Safe side at t = {timestep}", digits=0)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the table: the exponent, then a side for each noise level."""
        return (EXPONENT, *map(self.safe_side, self.timesteps))

    def presets(self, profile: Profile) -> list[str]:
        """Full names of the schedules in a profile, in the order of the page."""
        return sorted(f"{profile.presets}-{schedule}" for schedule in self.schedules)

    def panel(self, key: str) -> Panel:
        """The panel of that key.

        Raises:
            UnknownNameError: no such panel.
        """
        for panel in self.panels:
            if panel.key == key:
                return panel
        raise UnknownNameError(f"panel of {self.key}", key, [panel.key for panel in self.panels])
