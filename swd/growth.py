"""Growing a noisy latent, in two ways that the paper does not have.

Both work on the coefficients of the orthonormal DCT-II, X = C_s x C_s^T, in which white noise of variance 1 stays white
noise of variance 1. Its cosines, cos(pi k (n + 1/2) / s), are the same functions at every side s with pixel centres
aligned, so the coefficients of a signal that the small side holds are r times larger at r times the side.

*Spectral expansion* (SPEED, "Spectral Progressive Diffusion", arXiv 2605.18736): the coefficients of x_t are the low
ones of a larger latent, fresh noise makes the others. With x_t = a x0 + b noise at the small side,

    X' = (b'/b) X on the low frequencies,  b' N elsewhere,        b'/a' = r b/a.

The signal of X' is (b'/b) a X0 = a' r X0, that of x0 enlarged; its noise is b' everywhere. So sigma rises: the same
noise lies over a signal with r times fewer large coefficients per pixel. In flow matching sigma' is
``time_shift(sigma, r)``. The fresh coefficients take it that x0 has none there: growth is safe where noise masks them.

*Lift of the clean estimate*: x0_hat is upscaled as the paper does it, and the noise that belongs to it,
n = (x_t - a x0_hat) / b, is kept as the low frequencies of the new noise, in place of fresh noise everywhere. Sigma
stays.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from swd.flow import FlowMatching, NoiseProcess, signal_and_noise
from swd.resize import upscale
from swd.schedule import UpscaleMode
from swd.tensors import check_alike, check_maps
from swd.values import real, size_of

_BISECTIONS = 60
_FLOW = FlowMatching()


def side_ratio(small: tuple[int, int], large: tuple[int, int]) -> float:
    """r: how much larger an orthonormal coefficient of the same signal is, the root of the ratio of areas."""
    small, large = size_of("small", small), size_of("large", large)
    return math.sqrt(large[0] * large[1] / (small[0] * small[1]))


def grown_sigma(sigma: float, ratio: float, process: NoiseProcess = _FLOW) -> float:
    """Noise level after a spectral expansion: noise over signal is ``ratio`` times what it was at ``sigma``.

    Flow matching: ``ratio sigma / (1 - sigma + ratio sigma)``, the time shift by the ratio of sides. A ratio below 1
    asks for the opposite: from which level of the small side an expansion arrives at ``sigma``.

    Args:
        sigma: noise level in [0, 1].
        ratio: of the sides, see `side_ratio`.
        process: what noise is.

    Returns:
        Sigma in [0, 1]; at most the process's own last level, where its signal is weakest.

    Raises:
        TypeError: no numbers.
        ValueError: sigma outside [0, 1], or a ratio that is not positive.
    """
    ratio = real("ratio", ratio, above=0)
    signal, noise = signal_and_noise(sigma, process)
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        here, there = signal_and_noise(middle, process)
        low, high = (low, middle) if there * signal >= ratio * noise * here else (middle, high)
    return high


def expand_noisy(x_t: Tensor, noise: Tensor, sigma: float, process: NoiseProcess = _FLOW) -> tuple[Tensor, float]:
    """Spectral expansion of x_t to the size of fresh noise.

    Args:
        x_t: at noise level ``sigma``, (B, C, h, w).
        noise: standard Gaussian at the new size, (B, C, H, W); its low frequencies are not used.
        sigma: noise level in (0, 1].
        process: what noise is.

    Returns:
        x_t at the new size, and its noise level.

    Raises:
        TypeError: no floating-point tensors, or no number.
        ValueError: sigma outside (0, 1], or ``noise`` smaller than ``x_t`` or of other images or channels.
    """
    sigma = real("sigma", sigma, above=0, least=0, most=1)
    _check(x_t=x_t, noise=noise)
    grown = grown_sigma(sigma, side_ratio(_size(x_t), _size(noise)), process)
    (_, before), (_, after) = (signal_and_noise(level, process) for level in (sigma, grown))
    return after * replace_low(noise, x_t / before), grown


def lift_estimate(
    x_t: Tensor,
    x0: Tensor,
    noise: Tensor,
    sigma: float,
    *,
    mode: UpscaleMode = "bicubic",
    process: NoiseProcess = _FLOW,
) -> Tensor:
    """x_t at a larger size from a clean estimate, with the noise that the estimate implies.

    Args:
        x_t: at noise level ``sigma``, (B, C, h, w).
        x0: estimate of the clean latent behind it, of the same shape.
        noise: standard Gaussian at the new size, (B, C, H, W), for the frequencies that ``x_t`` cannot hold.
        sigma: noise level in (0, 1].
        mode: how ``x0`` is upscaled.
        process: what noise is.

    Raises:
        ValueError: as `expand_noisy`.
    """
    sigma = real("sigma", sigma, above=0, least=0, most=1)
    check_alike(x_t=x_t, x0=x0)
    _check(x_t=x_t, noise=noise)
    weight, spread = signal_and_noise(sigma, process)
    completed = replace_low(noise, (x_t - weight * x0) / spread)
    return process.add_noise(upscale(x0, _size(noise), mode), completed, sigma)


def replace_low(large: Tensor, small: Tensor) -> Tensor:
    """A latent whose low frequencies are all of another, smaller one, coefficient by coefficient, unscaled.

    White noise in both, of the same variance, gives white noise of that variance.

    Args:
        large: (B, C, H, W), gives the size and the other frequencies.
        small: (B, C, h, w).

    Raises:
        TypeError: no floating-point tensors.
        ValueError: ``small`` is larger, or of other images or channels.
    """
    _check(small=small, large=large)
    rows, columns = (_cosines(side, large) for side in _size(large))
    spectrum = rows @ large @ columns.T
    low_rows, low_columns = (_cosines(side, small) for side in _size(small))
    spectrum[..., : small.shape[-2], : small.shape[-1]] = low_rows @ small @ low_columns.T
    return rows.T @ spectrum @ columns


def keep_low(large: Tensor, size: tuple[int, int]) -> Tensor:
    """The smaller latent whose coefficients are the low ones of a latent, unscaled: what `replace_low` puts back.

    White noise gives white noise of the same variance.

    Args:
        large: (B, C, H, W).
        size: (h, w), no larger.

    Raises:
        TypeError: no floating-point tensor, or no whole numbers.
        ValueError: it is larger.
    """
    check_maps(large=large)
    size = size_of("size", size)
    if any(side > of for side, of in zip(size, _size(large), strict=True)):
        raise ValueError(f"low frequencies of {_size(large)} make no latent of size {size}")
    rows, columns = (_cosines(side, large) for side in _size(large))
    low = (rows @ large @ columns.T)[..., : size[0], : size[1]]
    low_rows, low_columns = (_cosines(side, large) for side in size)
    return low_rows.T @ low @ low_columns


def _cosines(side: int, like: Tensor) -> Tensor:
    return _dct_matrix(side).to(like)


@lru_cache(maxsize=64)
def _dct_matrix(side: int) -> Tensor:
    """Orthonormal DCT-II, (frequency, sample), float64."""
    frequency = torch.arange(side, dtype=torch.float64)[:, None]
    sample = torch.arange(side, dtype=torch.float64)[None] + 0.5
    matrix = math.sqrt(2 / side) * torch.cos(math.pi * frequency * sample / side)
    matrix[0] /= math.sqrt(2)
    return matrix


def _size(x: Tensor) -> tuple[int, int]:
    return (x.shape[-2], x.shape[-1])


def _check(**given: Tensor) -> None:
    """Of a latent and the one that it grows to, in this order."""
    check_maps(**given)
    small, large = given.values()
    if small.shape[:-2] != large.shape[:-2] or any(s > n for s, n in zip(_size(small), _size(large), strict=True)):
        raise ValueError(
            f"{' and '.join(given)} must have the same images and channels, the second no smaller side, got "
            f"{tuple(small.shape)} and {tuple(large.shape)}"
        )
