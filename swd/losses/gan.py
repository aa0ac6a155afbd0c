"""Non-saturating GAN losses on logits (B,): high means real."""

import torch.nn.functional as F
from torch import Tensor


def gan_student_loss(fake_logits: Tensor) -> Tensor:
    """Mean of -log D(student samples)."""
    return F.softplus(-fake_logits).mean()


def gan_discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Mean of -log(1 - D(student samples)) plus mean of -log D(data)."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()
