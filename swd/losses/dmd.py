"""Distribution matching distillation: move samples from where the fake model sees them to where the teacher does."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dmd_gradient(x0: Tensor, teacher_x0: Tensor, fake_x0: Tensor) -> Tensor:
    """Normalised difference of the two scores, written with clean estimates.

    ((x0 - teacher_x0) - (x0 - fake_x0)) / mean |x0 - teacher_x0|, the mean over each image. An image whose teacher
    estimate is the image itself has no scale to normalise by and gets zero. Any other NaN passes through: training
    has to stop on it, not average it away.

    Args:
        x0: student samples, (B, C, H, W).
        teacher_x0: teacher estimates with guidance, at a renoised ``x0``.
        fake_x0: fake-model estimates without guidance, at the same point.

    Returns:
        Gradient with respect to ``x0``, (B, C, H, W), detached.
    """
    if not x0.shape == teacher_x0.shape == fake_x0.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (x0, teacher_x0, fake_x0))
        raise ValueError(f"dmd_gradient needs three tensors of one shape, got {shapes}")
    with torch.no_grad():
        size = (x0 - teacher_x0).abs().flatten(1).mean(1).reshape(-1, *[1] * (x0.ndim - 1))
        gradient = (fake_x0 - teacher_x0) / size
        return torch.where(size == 0, torch.zeros_like(gradient), gradient)


def dmd_loss(x0: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose derivative with respect to ``x0`` is ``gradient / x0.numel()``."""
    return 0.5 * F.mse_loss(x0, (x0 - gradient).detach())
