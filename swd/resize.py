"""The two resizes of the method: area down (pixels of the training targets), bicubic up (latents between steps).

A wrong kernel is visible: nearest upscaling of latents aliases, latent downscaling is worse than pixel downscaling.
"""

import torch.nn.functional as F
from torch import Tensor


def downscale_area(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Average over the area that each output pixel covers.

    Args:
        x: images, (B, C, H, W).
        size: (h, w), no larger than (H, W).

    Raises:
        ValueError: when ``size`` is larger than the image.
    """
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
        ValueError: when ``size`` is smaller than the latent.
    """
    if size == tuple(x.shape[-2:]):
        return x
    if size[0] < x.shape[-2] or size[1] < x.shape[-1]:
        raise ValueError(f"upscale_bicubic cannot shrink {tuple(x.shape[-2:])} to {size}")
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False)
