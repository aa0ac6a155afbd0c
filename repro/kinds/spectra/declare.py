"""What a figure of spectra is, as data: which latents or images, at which noise levels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from repro.harness.experiment import Column, Experiment, UnknownNameError
from repro.harness.profile import Profile
from repro.harness.scope import ClaimKind, Scope
from repro.kinds.spectra import keys
from swd.schedule import PRESETS

EXPONENT = Column(keys.EXPONENT, "Exponent of the power law", digits=2)
FIT = Column(keys.FIT, "R\u00b2 of the law", better="higher", digits=3, most=1.0)
# A factor of two in power is the least that an eye sees on Figure 1's axes.
FALL = Column(keys.FALL, "Least fall of an octave", better="higher", digits=1, unit="dB", margin=3.0)

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
class Calibration:
    """What the margin of noise over signal is fitted to: losses in a table of upscaled latents, in the same profile.

    Args:
        table: key of that table.
        panel: whose spectrum predicts.
        full: variant of the full latent there.
        cells: variants of upscaled clean latents, with the share of the side that they start from.
        timesteps: noise levels, 1000 sigma.
        margins: that are tried.
        distance: key of a distance there, of the profile's ``metric`` of distributions and the ``timestep``.
        replicates: key of the series without each group of images, of the ``distance``.
    """

    table: str
    panel: str
    full: str
    cells: tuple[tuple[str, float], ...]
    timesteps: tuple[int, ...]
    margins: tuple[float, ...]
    distance: str = "{metric}_t{timestep}"
    replicates: str = "{distance}_without_block"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumClaim:
    """A number of a panel's clean spectrum is more than a bound, or not worse than it.

    Args:
        key: name in the tables of claims.
        text: what the paper says.
        panel: key of the panel.
        column: the number, with its margin.
        bound: that it is compared with, in the unit of the records.
        kind: better or not worse than the bound.
        statement: key of the sentence of the paper that it asks.
        source: where the paper makes it.
        primary: whether it belongs to the family of the page.
    """

    key: str
    text: str
    panel: str
    column: Column
    bound: float
    kind: ClaimKind
    statement: str
    source: str = "v1, Figure 1"
    primary: bool = True

    @property
    def scope(self) -> Scope:
        """The panel."""
        return Scope(rows=(self.panel,), kind=self.kind)


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
        claims: of the panels; those whose images a profile has are tested.
        calibration: what the margin of the rule is fitted to; None for a margin of 1 alone.
        derived: presets, without the profile's prefix, whose scales follow from the spectrum at equal cost.
    """

    PAGE_ONLY: ClassVar[frozenset[str]] = Experiment.PAGE_ONLY | {"reading", "claims", "calibration", "derived"}

    panels: tuple[Panel, ...]
    timesteps: tuple[int, ...]
    images: int
    fractions: tuple[float, ...]
    schedules: tuple[str, ...]
    reading: str
    claims: tuple[SpectrumClaim, ...] = ()
    calibration: Calibration | None = None
    derived: tuple[str, ...] = ()

    def safe_side(self, timestep: int) -> Column:
        """The column of the smallest safe side at a noise level."""
        return Column(keys.safe_side(timestep), f"Safe side at t = {timestep}", digits=0)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the table: the law and the fall, then a side for each noise level."""
        return (EXPONENT, FIT, FALL, *map(self.safe_side, self.timesteps))

    def presets(self, profile: Profile) -> list[str]:
        """Full names of the schedules in a profile, in the order of the page."""
        return sorted(f"{profile.presets}-{schedule}" for schedule in self.schedules)

    def derived_presets(self, profile: Profile) -> list[str]:
        """Full names of the schedules of equal cost that there are in a profile."""
        names = (f"{profile.presets}-{schedule}" for schedule in self.derived)
        return [name for name in names if name in PRESETS]

    def panel(self, key: str) -> Panel:
        """The panel of that key.

        Raises:
            UnknownNameError: no such panel.
        """
        for panel in self.panels:
            if panel.key == key:
                return panel
        raise UnknownNameError(f"panel of {self.key}", key, [panel.key for panel in self.panels])
