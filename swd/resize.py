"""The two resizes of the method: area down (pixels of the training targets), bicubic up (latents between steps).

A wrong kernel is visible: nearest upscaling of latents aliases, latent downscaling is worse than pixel downscaling.
"""

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from swd.schedule import UpscaleMode
from swd.tensors import check_maps
from swd.values import one_of, size_of


def downscale_area(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Average over the area that each output pixel covers.

    Args:
        x: images, (B, C, H, W).
        size: (h, w), no larger than (H, W).

    Raises:
        TypeError: ``x`` is no floating-point tensor, or ``size`` not two whole numbers.
        ValueError: when ``size`` is larger than the image, or ``x`` not (B, C, H, W).
    """
    check_maps(x=x)
    size = size_of("size", size)
    if size == tuple(x.shape[-2:]):
        return x
    if size[0] > x.shape[-2] or size[1] > x.shape[-1]:
        raise ValueError(f"downscale_area cannot enlarge {tuple(x.shape[-2:])} to {size}")
    return F.interpolate(x, size=size, mode="area")


def upscale_bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic interpolation, pixel centres aligned (``align_corners=False``), as FlowMatchLCMScheduler does.

    Args:
        x: latents, (B, C, H, W).
        size: (h, w), no smaller than (H, W).

    Raises:
        TypeError: as `upscale`.
        ValueError: when ``size`` is smaller than the latent, or ``x`` not (B, C, H, W).
    """
    return upscale(x, size, "bicubic")


def upscale(x: Tensor, size: tuple[int, int], mode: UpscaleMode) -> Tensor:
    """Upscale in one of the ways that Table 1 compares; the method itself is bicubic.

    Args:
        x: latents, (B, C, H, W).
        size: (h, w), no smaller than (H, W).
        mode: an interpolation, or ``fourier``: the same frequencies and none above, periodic at the borders.

    Raises:
        TypeError: ``x`` is no floating-point tensor, ``size`` not two whole numbers, or the mode no text.
        ValueError: when ``size`` is smaller than the latent, ``x`` not (B, C, H, W), or the mode unknown.
    """
    one_of("mode", mode, get_args(UpscaleMode))
    check_maps(x=x)
    size = size_of("size", size)
    if size == tuple(x.shape[-2:]):
        return x
    if size[0] < x.shape[-2] or size[1] < x.shape[-1]:
        raise ValueError(f"cannot upscale {tuple(x.shape[-2:])} to the smaller {size}")
    if mode == "fourier":
        return _pad_spectrum(x, size)
    resized: Tensor = F.interpolate(x, size=size, mode=mode, align_corners=None if mode == "nearest" else False)
    return resized


def _pad_spectrum(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Zero-pad the centred spectrum, shifted by half a sample so that pixel centres stay aligned."""
    spectrum = torch.fft.fft2(x.float())
    for dim, new in zip((-2, -1), size, strict=True):
        spectrum = _pad_axis(spectrum, dim, new)
    scale = size[0] * size[1] / (x.shape[-2] * x.shape[-1])
    upscaled: Tensor = scale * torch.fft.ifft2(spectrum).real
    return upscaled.to(x.dtype)


def _pad_axis(spectrum: Tensor, dim: int, new: int) -> Tensor:
    old = spectrum.shape[dim]
    if new == old:
        return spectrum
    frequency = torch.fft.fftfreq(old, 1 / old, device=spectrum.device).round()
    padded = spectrum.new_zeros([new if axis == dim % spectrum.ndim else n for axis, n in enumerate(spectrum.shape)])
    # Output sample j lies at input position (j + 1/2) old / new - 1/2: a phase that grows with the frequency.
    shift = 0.5 * (old / new - 1) / old
    phase = torch.exp(2j * torch.pi * shift * frequency)
    weight = torch.where(frequency.abs() == old / 2, 0.5, 1.0)  # an even side's last frequency has two signs
    shaped = (phase * weight).view(-1, *[1] * (-dim - 1))
    padded.index_add_(dim, (frequency % new).long(), spectrum * shaped)
    if old % 2 == 0:
        last = spectrum.narrow(dim, old // 2, 1)
        other = torch.exp(2j * torch.pi * shift * torch.tensor(old / 2, device=spectrum.device))
        padded.narrow(dim, old // 2, 1).add_(0.5 * last * other)
    return padded
