"""How much louder than the signal noise must be: the margin of Figure 1's rule, fitted to what Table 1 loses.

The rule calls a latent of side s safe at noise level sigma if

    margin (1 - sigma)^2 P(f) <= sigma^2    at every frequency f that the side cannot hold,

P being the spectrum of clean latents, so each (side, level) has a *critical margin*, sigma^2 / ((1 - sigma)^2 max P):
wider ones predict a loss. Table 1 measures it: the distance of images that the teacher finished from an upscaled
latent, less that from the full one; it *loses* if that is more than the margin which the distance's column declares.

Loss is measured on two halves of the groups of images that the jackknife leaves out, by its pseudo-values,
d_g = G d - (G - 1) d_(g), of which the mean over a half is to first order the difference on that half's images alone.
The margin is the smallest of those tried that predicts most cells of the first half; the second half tests it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from repro.harness.cells import estimate
from repro.harness.experiment import Column
from repro.harness.schema import Curve, RecordSet
from repro.kinds.spectra.declare import Calibration


@dataclass(frozen=True, slots=True)
class Trial:
    """One side at one noise level.

    Attributes:
        side: of the small latent, in samples.
        timestep: noise level, 1000 sigma.
        critical: wider margins predict a loss.
        losses: difference to the full latent on each half of the images.
    """

    side: int
    timestep: int
    critical: float
    losses: tuple[float, float]

    def is_hit(self, margin: float, half: int, allowed: float) -> bool:
        """Whether a margin predicts what a half of the images shows."""
        return (margin > self.critical) == (self.losses[half] > allowed)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The margin and how well it predicts.

    Attributes:
        margin: smallest with most hits on the first half.
        allowed: a larger difference is a loss.
        trials: all that it was fitted to and tested on.
    """

    margin: float
    allowed: float
    trials: tuple[Trial, ...]

    def hits(self, margin: float, half: int) -> int:
        """How many trials a margin predicts."""
        return sum(trial.is_hit(margin, half, self.allowed) for trial in self.trials)


def calibrate(declared: Calibration, clean: Curve, records: RecordSet, metric: Column) -> Calibrated | None:
    """The margin by a table's records.

    Args:
        declared: which cells, and which margins are tried.
        clean: spectrum of the full latents.
        records: of the upscaling table.
        metric: its distance, which declares what a loss is.

    Returns:
        None where the records have none of the cells in this metric, or it declares no margin.
    """
    trials = tuple(_trials(declared, clean, records, metric))
    if not trials or metric.margin is None:
        return None
    found = Calibrated(inf, metric.margin, trials)
    most = max(found.hits(margin, 0) for margin in declared.margins)
    best = next(margin for margin in sorted(declared.margins) if found.hits(margin, 0) == most)
    return Calibrated(best, metric.margin, trials)


def critical_margin(clean: Curve, side: float, sigma: float) -> float:
    """The widest margin by which a latent of this side still loses nothing; infinite for the full side.

    Raises:
        ValueError: sigma outside (0, 1).
    """
    if not 0 < sigma < 1:
        raise ValueError(f"sigma lies in (0, 1), got {sigma}")
    lost = _power(clean)[_sides(clean) > side]
    return (sigma / (1 - sigma)) ** 2 / float(lost.max()) if len(lost) else inf


def safe_side(clean: Curve, sigma: float, margin: float) -> float:
    """The smallest side that loses nothing, as ``swd.spectra.safe_side`` has it."""
    sides = _sides(clean)
    visible = sides[margin * (1 - sigma) ** 2 * _power(clean) > sigma**2]
    return float(visible.max()) if len(visible) else 0.0


def _trials(declared: Calibration, clean: Curve, records: RecordSet, metric: Column) -> Iterator[Trial]:
    full = round(float(_sides(clean).max()))
    for timestep in declared.timesteps:
        for cell, share in declared.cells:
            losses = _losses(declared, records, declared.distance.format(metric=metric.key, timestep=timestep), cell)
            if losses is not None:
                side = round(share * full)
                yield Trial(side, timestep, critical_margin(clean, side, timestep / 1000), losses)


def _losses(declared: Calibration, records: RecordSet, key: str, cell: str) -> tuple[float, float] | None:
    """What a cell loses against the full latent, on each half of the groups."""
    values, replicates = [], []
    for name in (cell, declared.full):
        found = estimate(records.find(name, "", key))
        without = records.find_series(name, declared.replicates.format(distance=key))
        if found is None or without is None:
            return None
        values.append(found.value)
        replicates.append(np.array(without.values))
    groups = len(replicates[0])
    if len(replicates[1]) != groups or groups < 2:
        return None
    pseudo = groups * (values[0] - values[1]) - (groups - 1) * (replicates[0] - replicates[1])
    return float(pseudo[: groups // 2].mean()), float(pseudo[groups // 2 :].mean())


def _sides(clean: Curve) -> np.ndarray:
    """Side of the smallest latent that holds each ring: whole rings, one every 1 / side up to the Nyquist frequency."""
    return np.round(2 * np.array(clean.x) / (clean.x[1] - clean.x[0]), 6)


def _power(clean: Curve) -> np.ndarray:
    return np.array(clean.y)
