"""Distribution matching distillation (DMD): move samples from where the fake model sees them to where the teacher does.

SwD v1, section 4, takes it over from DMD2 (Yin et al. 2024). It renoises a student sample x0_hat to
x_t = (1 - sigma) x0_hat + sigma eps, and asks two networks for the clean latent there: the teacher with guidance, and
the fake model, which tracks the student's distribution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from swd.tensors import check_alike


def dmd_gradient(x0: Tensor, teacher_x0: Tensor, fake_x0: Tensor) -> Tensor:
    """Normalised difference of the two scores, written with clean estimates (SwD v1, section 4).

        grad = ((x0_hat - x0_teacher) - (x0_hat - x0_fake)) / mean |x0_hat - x0_teacher|

    with the mean over each image. An image whose teacher estimate is the image itself has no scale to normalise by and
    gets zero. Any other NaN passes through: training has to stop on it, not average it away.

    Args:
        x0: student samples x0_hat, (B, C, H, W).
        teacher_x0: teacher estimates with guidance, at a renoised ``x0``.
        fake_x0: fake-model estimates without guidance, at the same point.

    Returns:
        Gradient with respect to ``x0``, (B, C, H, W), detached.

    Raises:
        TypeError: no floating-point tensors.
        ValueError: empty tensors, shapes that differ, or one number alone, which is no batch.
    """
    check_alike(x0=x0, teacher_x0=teacher_x0, fake_x0=fake_x0)
    if x0.ndim < 2:
        raise ValueError(f"x0 must be a batch, (B, C, H, W), got {tuple(x0.shape)}")
    with torch.no_grad():
        size = (x0 - teacher_x0).abs().flatten(1).mean(1).reshape(-1, *[1] * (x0.ndim - 1))
        gradient = (fake_x0 - teacher_x0) / size
        return torch.where(size == 0, torch.zeros_like(gradient), gradient)


def dmd_loss(x0: Tensor, gradient: Tensor) -> Tensor:
    """L_DMD = 1/2 mean (x0_hat - stopgrad(x0_hat - grad))^2 (SwD v1, section 4).

    Its value says nothing; its derivative with respect to x0_hat is ``grad / x0.numel()``.

    Args:
        x0: student samples x0_hat, (B, C, H, W), carries the gradient.
        gradient: of `dmd_gradient`, the same shape.

    Returns:
        A scalar.

    Raises:
        TypeError: no floating-point tensors.
        ValueError: empty tensors, or shapes that differ.
    """
    check_alike(x0=x0, gradient=gradient)
    return 0.5 * F.mse_loss(x0, (x0 - gradient).detach())
