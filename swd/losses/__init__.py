"""Losses of scale-wise distillation: functions of tensors, with no network, optimiser or logging inside."""

from swd.losses.consistency import consistency_loss
from swd.losses.dmd import dmd_gradient, dmd_loss
from swd.losses.gan import gan_discriminator_loss, gan_student_loss
from swd.losses.patch import median_distance, naive_patch, pdm_linear, pdm_rbf

__all__ = [
    "consistency_loss",
    "dmd_gradient",
    "dmd_loss",
    "gan_discriminator_loss",
    "gan_student_loss",
    "median_distance",
    "naive_patch",
    "pdm_linear",
    "pdm_rbf",
]
