"""Which frequencies noise masks, and so which scale a noise level needs (Figure 1).

The power of a frequency is ``|DFT(x)|^2 / (H W)``: white noise of variance v has power v everywhere, and the mean of
the power over all frequencies is the mean of ``x^2`` (Parseval). Averages over rings of equal frequency give the radial
spectrum. Frequencies are in cycles per sample, up to 1/2 along an axis and sqrt(1/2) in the corners; a latent of side s
holds those up to s / 2 cycles per image.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from swd.flow import FlowMatching, NoiseProcess, signal_and_noise
from swd.schedule import ScaleSchedule
from swd.tensors import check_maps
from swd.values import real, several, typed, whole

NYQUIST = 0.5
_BISECTIONS = 40


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Power by radial frequency. Ring k holds the frequencies nearest to k cycles per shorter side.

    Attributes:
        power: (..., F), mean power of each ring.
        frequency: (F,), cycles per sample, 0 first.
        population: (F,), share of all frequencies that lie in each ring; sums to 1, and
            ``(power * population).sum(-1)`` is the mean of the squared samples.
        size: (H, W) of what was measured.
    """

    power: Tensor
    frequency: Tensor
    population: Tensor
    size: tuple[int, int]

    @property
    def sides(self) -> Tensor:
        """(F,), the shorter side of the smallest latent that holds each frequency."""
        return 2 * self.frequency * min(self.size)

    @property
    def inscribed(self) -> Tensor:
        """(F,), true up to 1/2 cycle per sample. Rings beyond lie in the corners: they are not whole circles."""
        return self.frequency <= NYQUIST

    def mean(self) -> "Spectrum":
        """Average over images and channels: power (F,)."""
        return replace(self, power=self.power.reshape(-1, self.power.shape[-1]).mean(0))

    def channels(self) -> "Spectrum":
        """Average over images, of power (B, C, F): power (C, F)."""
        return replace(self, power=self.power.mean(0))


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Power = amplitude * frequency^-exponent.

    Attributes:
        exponent: of the law.
        low: lower bound of its 95 % interval.
        high: upper bound.
        amplitude: power at one cycle per sample.
        fit: R^2, the share of the variance of log power that the law explains; 1 where it is exact.
    """

    exponent: float
    low: float
    high: float
    amplitude: float
    fit: float


def radial_spectrum(x: Tensor) -> Spectrum:
    """Radially averaged power spectral density of every image and channel.

    Args:
        x: latents or images, (B, C, H, W).

    Returns:
        Spectrum with power (B, C, F) in float32.

    Raises:
        TypeError: ``x`` is no floating-point tensor.
        ValueError: when ``x`` is not (B, C, H, W), or a side is below 2.
    """
    check_maps(x=x)
    if min(x.shape[-2:]) < 2:
        raise ValueError(f"expected (B, C, H, W) with sides of at least 2, got {tuple(x.shape)}")
    height, width = x.shape[-2:]
    ring, weight = _rings(height, width)
    ring, weight = ring.to(x.device), weight.to(x.device)
    rings = int(ring.max()) + 1
    population = torch.zeros(rings, device=x.device).index_add_(0, ring, weight)
    power = torch.view_as_real(torch.fft.rfft2(x.float(), norm="ortho")).square().sum(-1).flatten(2)  # (B, C, H W')
    total = power.new_zeros(*power.shape[:2], rings).index_add_(2, ring, power * weight)
    frequency = torch.arange(rings, device=x.device) / min(height, width)
    return Spectrum(total / population, frequency, population / (height * width), (height, width))


def _rings(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Ring of each of the frequencies that rfft2 gives, (H W',), and how many of the full transform it stands for."""
    columns = width // 2 + 1
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    stands_for = torch.full((columns,), 2.0)
    stands_for[0] = 1  # its own mirror image
    if width % 2 == 0:
        stands_for[-1] = 1
    ring = (radius * min(height, width)).round().long()
    return ring.flatten(), stands_for.expand(height, columns).flatten()


def noisy_spectrum(clean: Spectrum, sigma: float, process: NoiseProcess | None = None) -> Spectrum:
    """What the spectrum of x_t is on average: signal^2 clean + noise^2, the noise being white with variance 1.

    Args:
        clean: of the clean latents.
        sigma: noise level in [0, 1].
        process: flow matching where it is None.

    Raises:
        TypeError: no spectrum, or no number.
        ValueError: sigma outside [0, 1].
    """
    _check_spectrum(clean)
    signal, noise = signal_and_noise(sigma, process or FlowMatching())
    return replace(clean, power=signal**2 * clean.power + noise**2)


def safe_side(clean: Spectrum, sigma: float, *, margin: float = 1.0, process: NoiseProcess | None = None) -> float:
    """Shorter side of the smallest latent that loses nothing at this noise level.

    All frequencies that it cannot hold have ``margin`` times more noise than signal. Corner rings are left out: no
    latent of a smaller side holds them whole.

    Args:
        clean: power (F,), as from `Spectrum.mean`.
        sigma: noise level in [0, 1].
        margin: least ratio of noise power to signal power that masks.
        process: flow matching where it is None.

    Returns:
        A side in samples, not rounded; 0 where all is masked, ``min(size)`` where nothing is.

    Raises:
        TypeError: an argument of another type.
        ValueError: sigma outside [0, 1], a margin that is not positive, or power of another shape.
    """
    margin = _check(clean, margin)
    signal, noise = signal_and_noise(sigma, process or FlowMatching())
    visible = clean.inscribed & (margin * signal**2 * clean.power > noise**2)
    return float(clean.sides[visible].max()) if bool(visible.any()) else 0.0


def safe_sigma(clean: Spectrum, side: float, *, margin: float = 1.0, process: NoiseProcess | None = None) -> float:
    """Noise level from which a latent of this side loses nothing; the inverse of `safe_side`.

    Args:
        clean: power (F,), as from `Spectrum.mean`.
        side: shorter side of the smaller latent, in samples of the full one.
        margin: least ratio of noise power to signal power that masks.
        process: flow matching where it is None.

    Returns:
        Sigma in [0, 1]; 0 for the full side.

    Raises:
        TypeError: an argument of another type.
        ValueError: a side that is not positive or larger than the full one, or as in `safe_side`.
    """
    margin, full = _check(clean, margin), min(clean.size)
    side = real("side", side, above=0, least=0, most=full)
    lost = clean.power[clean.inscribed & (clean.sides > side)]
    if not len(lost):
        return 0.0
    loudest = float(lost.max())

    def masked(sigma: float) -> bool:
        signal, noise = signal_and_noise(sigma, process or FlowMatching())
        return margin * signal**2 * loudest <= noise**2

    return _first(masked)


def _first(holds: Callable[[float], bool]) -> float:
    """Smallest value in [0, 1] from which a condition holds that once true stays true; it holds at 1."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def schedule_from_spectrum(
    clean: Spectrum,
    *,
    sigmas: Sequence[float] | None = None,
    scales: Sequence[int] | None = None,
    margin: float = 1.0,
    multiple: int = 2,
    least: int = 0,
    process: NoiseProcess | None = None,
) -> ScaleSchedule:
    """The cheapest schedule in which no step leaves behind a frequency that the next one can see.

    Step i hands its x0 over at scale i, to be renoised to the next sigma: what scale i cannot hold must be masked
    there.

    Args:
        clean: power (F,) at the final scale, of square latents.
        sigmas: levels of the steps with the final 0; scales are proposed.
        scales: latent sides of the steps, rising strictly to the final one; sigmas are proposed, from 1 on.
        margin: least ratio of noise power to signal power that masks.
        multiple: scales are rounded up to multiples of this, the patch size.
        least: no proposed scale is smaller, such as the smallest that the network has seen.
        process: flow matching where it is None.

    Raises:
        TypeError: an argument of another type.
        ValueError: neither or both of sigmas and scales; a final side that ``multiple`` does not divide; scales that do
            not rise to the final side, or sigmas that `ScaleSchedule` refuses.
    """
    if (sigmas is None) == (scales is None):
        raise ValueError("give either sigmas or scales: the other one is proposed")
    _check(clean, margin)
    full, multiple = min(clean.size), whole("multiple", multiple, 1)
    least = whole("least", least, 0, full)
    if full % multiple:
        raise ValueError(f"the final side {full} is no multiple of the patch size {multiple}")
    if sigmas is not None:
        sigmas = several("sigmas", sigmas)
        sides = [safe_side(clean, sigma, margin=margin, process=process) for sigma in sigmas[1:-1]]
        proposed = [min(full, max(multiple, least, multiple * math.ceil(side / multiple))) for side in sides]
        return ScaleSchedule((*proposed, full), tuple(sigmas))
    scales = tuple(whole("scales", scale, 1) for scale in several("scales", scales))
    if not scales or scales[-1] != full or any(small >= large for small, large in pairwise(scales)):
        raise ValueError(f"scales must rise strictly to the final side {full}, got {scales}")
    levels = [safe_sigma(clean, scale, margin=margin, process=process) for scale in scales[:-1]]
    schedule = ScaleSchedule(scales, (1.0, *levels, 0.0))
    schedule.check_patch(multiple)
    return schedule


def fit_power_law(clean: Spectrum) -> PowerLaw:
    """Weighted least squares of log power on log frequency, over whole rings without the mean (frequency 0).

    A ring weighs as much as it has frequencies: the variance of its log power falls in proportion.

    Args:
        clean: power (F,), as from `Spectrum.mean`.

    Raises:
        TypeError: an argument of another type.
        ValueError: fewer than four rings, or power that is not positive.
    """
    _check(clean, margin=1.0)
    rings = clean.inscribed & (clean.frequency > 0)
    power, frequency, population = (
        values[rings].double().cpu().numpy() for values in (clean.power, clean.frequency, clean.population)
    )
    if len(power) < 4 or not (power > 0).all():
        raise ValueError(f"a power law needs at least four rings of positive power, got {power}")
    x, y = np.log(frequency), np.log(power)
    (slope, intercept), covariance = np.polyfit(x, y, 1, w=np.sqrt(population), cov=True)
    spread = 1.96 * math.sqrt(covariance[0, 0])
    unexplained = np.average((y - slope * x - intercept) ** 2, weights=population)
    total = np.average((y - np.average(y, weights=population)) ** 2, weights=population)
    fit = 1 - float(unexplained / total) if total > 0 else 0.0
    return PowerLaw(-slope, -slope - spread, -slope + spread, math.exp(intercept), fit)


def least_octave_fall(clean: Spectrum) -> float:
    """The least fall of power from an octave to the next one above, in dB; 0 for white noise.

    Noise is white, so where this is positive it masks octave by octave from above. Octaves are (1/4, 1/2] cycle per
    sample, (1/8, 1/4] and so on down to the last with a ring of its own; in each every frequency counts alike. The mean
    (frequency 0) and the corners are left out.

    Args:
        clean: power (F,), as from `Spectrum.mean`.

    Raises:
        TypeError: an argument of another type.
        ValueError: power of another shape, or a side below 8, which has too few octaves.
    """
    _check(clean, margin=1.0)
    if min(clean.size) < 8:
        raise ValueError(f"octaves are compared from a side of 8 on, got {clean.size}")
    levels, top = [], NYQUIST
    while (rings := (clean.frequency <= top) & (clean.frequency > top / 2)).any():
        total = (clean.power * clean.population)[rings].sum() / clean.population[rings].sum()
        levels.append(10 * math.log10(float(total)))
        top /= 2
    return min(lower - upper for upper, lower in pairwise(levels))


def _check_spectrum(clean: Spectrum) -> None:
    if not isinstance(clean, Spectrum):
        raise TypeError(f"clean must be a Spectrum, such as radial_spectrum makes, got {typed(clean)}")


def _check(clean: Spectrum, margin: float) -> float:
    """The margin as a number."""
    _check_spectrum(clean)
    if clean.power.ndim != 1:
        raise ValueError(f"expected the mean spectrum, power (F,), got {tuple(clean.power.shape)}: call mean()")
    return real("margin", margin, above=0)
