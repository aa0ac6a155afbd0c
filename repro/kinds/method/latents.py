"""From tensors to what is shown of them."""

import torch
from torch import Tensor

from repro.kinds.method.canvas import Pixels


def as_pixels(image: Tensor) -> Pixels:
    """Pixels (H, W, 3) of an image (3, H, W) in [0, 1]."""
    levels = (image.float().clamp(0, 1) * 255).round().to(torch.uint8)
    found: Pixels = levels.permute(1, 2, 0).cpu().numpy()
    return found


def rms(latent: Tensor) -> float:
    """Root mean square over all numbers of a latent."""
    return float(latent.square().mean().sqrt())
