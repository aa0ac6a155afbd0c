"""Spectra of the samples of a panel, clean and noisy, and the numbers that follow from them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from repro.harness.schema import Curve
from repro.kinds.spectra import keys
from repro.kinds.spectra.declare import SpectraFigure
from repro.metrics.base import Estimate
from repro.metrics.jackknife import GROUPS, jackknife
from swd.flow import NUM_TIMESTEPS, NoiseProcess
from swd.sampler import draw_noise, seed_rngs
from swd.spectra import Spectrum, fit_power_law, least_octave_fall, noisy_spectrum, radial_spectrum, safe_side

RESAMPLES = 500


def _fit(clean: Spectrum) -> float:
    """R^2 of the power law; 0 where power does not fall."""
    law = fit_power_law(clean)
    return law.fit if law.exponent > 0 else 0.0


NUMBERS: Mapping[str, Callable[[Spectrum], float]] = MappingProxyType(
    {keys.EXPONENT: lambda clean: fit_power_law(clean).exponent, keys.FIT: _fit, keys.FALL: least_octave_fall}
)
"""Numbers of a mean spectrum that change smoothly with it, as a jackknife needs."""


@dataclass(frozen=True, slots=True)
class PanelSpectra:
    """What a panel shows.

    Attributes:
        clean: spectrum of every image, channels averaged: power (N, F).
        noisy: timestep -> measured spectrum of x_t, likewise.
        process: what makes x_t.
        groups: the group of each image; empty where each is one by itself.
    """

    clean: Spectrum
    noisy: dict[int, Spectrum]
    process: NoiseProcess
    groups: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        batches: Iterable[Tensor],
        timesteps: tuple[int, ...],
        process: NoiseProcess,
        groups: tuple[int, ...] = (),
    ) -> "PanelSpectra":
        """Spectra of samples (B, C, H, W) and of what noise makes of them; the noise of image i follows from i."""
        clean: list[Spectrum] = []
        noisy: dict[int, list[Spectrum]] = {timestep: [] for timestep in timesteps}
        seen = 0
        for samples in batches:
            noise = draw_noise(seed_rngs(range(seen, seen + len(samples))), tuple(samples.shape[1:]), samples.device)
            seen += len(samples)
            clean.append(_per_image(samples))
            for timestep, found in noisy.items():
                found.append(_per_image(process.add_noise(samples, noise, timestep / NUM_TIMESTEPS)))
        return cls(_joined(clean), {timestep: _joined(found) for timestep, found in noisy.items()}, process, groups)

    def curves(self, variant: str) -> Iterator[Curve]:
        """Clean and noisy spectra as measured, and the noisy ones as the clean one and the noise level give them."""
        yield _curve(variant, keys.CLEAN, self.clean)
        mean = self.clean.mean()
        for timestep, measured in self.noisy.items():
            expected = noisy_spectrum(mean, timestep / NUM_TIMESTEPS, self.process)
            signal = replace(expected, power=expected.power - self.noise_power(timestep))
            yield _curve(variant, keys.noisy(timestep), measured)
            yield _curve(variant, keys.expected(timestep), expected)
            yield _curve(variant, keys.signal(timestep), signal)

    def noise_power(self, timestep: int) -> float:
        """Power of the noise in x_t, the same at every frequency."""
        silent = replace(self.clean, power=torch.zeros(1))
        return float(noisy_spectrum(silent, timestep / NUM_TIMESTEPS, self.process).power)

    def numbers(self) -> Iterator[tuple[str, Estimate]]:
        """Those of ``NUMBERS``, by a jackknife over groups of images; none of a single group."""
        clusters = self._clusters()
        if len(clusters) < 2:
            return
        runs = np.array_split(np.arange(len(clusters)), min(GROUPS, len(clusters)))
        means = [self._mean([c for n, c in enumerate(clusters) if n not in set(run.tolist())]) for run in runs]
        for key, number in NUMBERS.items():
            yield key, jackknife(number(self.clean.mean()), [number(mean) for mean in means], len(self.clean.power))

    def sides(self, figure: SpectraFigure) -> Iterator[tuple[str, float, tuple[float, float]]]:
        """The safe side of each noise level, which takes few values, with a percentile bootstrap over groups."""
        clusters, rng = self._clusters(), np.random.default_rng(0)
        drawn = rng.integers(0, len(clusters), (RESAMPLES, len(clusters)))
        resampled = [self._mean([clusters[n] for n in one]) for one in drawn]
        for timestep in figure.timesteps:
            sides = [safe_side(s, timestep / NUM_TIMESTEPS, process=self.process) for s in resampled]
            low, high = np.percentile(sides, (2.5, 97.5))
            value = safe_side(self.clean.mean(), timestep / NUM_TIMESTEPS, process=self.process)
            yield keys.safe_side(timestep), value, (float(low), float(high))

    def _clusters(self) -> list[np.ndarray]:
        """Places of the images of each group, (n,)."""
        groups = np.array(self.groups or range(len(self.clean.power)))
        return [np.flatnonzero(groups == group) for group in np.unique(groups)]

    def _mean(self, clusters: Sequence[np.ndarray]) -> Spectrum:
        """Mean spectrum of the images of these groups."""
        return replace(self.clean, power=self.clean.power[torch.from_numpy(np.concatenate(clusters))]).mean()


def _joined(parts: list[Spectrum]) -> Spectrum:
    return replace(parts[0], power=torch.cat([part.power for part in parts]))


def _per_image(samples: Tensor) -> Spectrum:
    spectrum = radial_spectrum(samples)
    power = spectrum.power.mean(1).cpu()
    return Spectrum(power, spectrum.frequency.cpu(), spectrum.population.cpu(), spectrum.size)


def _curve(variant: str, metric: str, spectrum: Spectrum) -> Curve:
    """Mean and standard error over the rings that are whole; a single spectrum was computed and has no error."""
    whole = spectrum.inscribed
    power = spectrum.power[..., whole]
    measured = power.ndim > 1
    error = power.std(0) / len(power) ** 0.5 if measured else torch.zeros_like(power)
    x, y, spread = (
        _rounded(values) for values in (spectrum.frequency[whole], power.mean(0) if measured else power, error)
    )
    return Curve(variant=variant, metric=metric, x=x, y=y, error=spread, n=len(power) if measured else 0)


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values.tolist())
