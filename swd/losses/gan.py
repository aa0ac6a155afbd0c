"""Non-saturating GAN losses (SwD v1, section 4) on logits D(.): high means real.

The discriminator D is a head on features of the fake model, read at one renoised point x_t of samples or data.
"""

import torch.nn.functional as F
from torch import Tensor

from swd.tensors import check_floating


def gan_student_loss(fake_logits: Tensor) -> Tensor:
    """L_GAN = mean softplus(-D(x_t)) with x_t of student samples: -log of the chance to pass for data.

    Args:
        fake_logits: D of student samples, (B,), carries the gradient.

    Returns:
        A scalar.

    Raises:
        TypeError: no floating-point tensor.
        ValueError: an empty one.
    """
    check_floating(fake_logits=fake_logits)
    return F.softplus(-fake_logits).mean()


def gan_discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """L_D = mean softplus(D(x_t)) of student samples + mean softplus(-D(x_t)) of data: the head's own loss.

    Args:
        fake_logits: D of student samples, (B,), detached from the student by the caller.
        real_logits: D of data under the same noise, (B,).

    Returns:
        A scalar.

    Raises:
        TypeError: no floating-point tensors.
        ValueError: empty tensors.
    """
    check_floating(fake_logits=fake_logits, real_logits=real_logits)
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()
