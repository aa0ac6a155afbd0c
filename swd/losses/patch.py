"""Patch distribution matching (PDM) and the naive patch loss it is compared with (v1 Table 6).

A transformer's image tokens are patches. PDM compares the *distribution* of patches of a student sample with that of
its target and ignores where a patch sits; the naive loss compares them place by place.
"""

import torch
from torch import Tensor


def _token_sets(fake: Tensor, real: Tensor, pool_batch: bool) -> tuple[Tensor, Tensor]:
    """Features as sets of tokens, in float32 or wider: one set per image, or one for the whole batch."""
    if fake.ndim != 3 or real.ndim != 3 or len(fake) != len(real) or fake.shape[-1] != real.shape[-1]:
        raise ValueError(f"features must be (B, N, D) of one B and D, got {tuple(fake.shape)} and {tuple(real.shape)}")
    sets = [features.to(torch.promote_types(features.dtype, torch.float32)) for features in (fake, real)]
    if pool_batch:
        sets = [features.flatten(0, 1)[None] for features in sets]
    return sets[0], sets[1]


def pdm_linear(fake: Tensor, real: Tensor, *, huber_c: float = 1e-3, pool_batch: bool = False) -> Tensor:
    """PDM with a linear kernel: pseudo-Huber distance between mean tokens, sqrt(d^2 + c^2) - c averaged over D.

    Args:
        fake: student features, (B, N, D), carries the gradient.
        real: target features, (B, M, D), detached by the caller.
        huber_c: c > 0, below which the distance is quadratic.
        pool_batch: average tokens over the batch too.

    Returns:
        One value per image, (B,); one for the batch, (1,), with ``pool_batch``.
    """
    if not huber_c > 0:
        raise ValueError(f"huber_c must be positive, got {huber_c}")
    fake, real = _token_sets(fake, real, pool_batch)
    square = (fake.mean(1) - real.mean(1)).square()
    # d^2 / (sqrt(d^2 + c^2) + c) is the same number without the cancellation
    return (square / ((square + huber_c**2).sqrt() + huber_c)).mean(-1)


def pdm_rbf(fake: Tensor, real: Tensor, *, bandwidth: float, pool_batch: bool = False) -> Tensor:
    """PDM with an RBF kernel: unbiased squared MMD between the token sets.

    Args:
        fake: student features, (B, N, D), N >= 2, carries the gradient.
        real: target features, (B, M, D), M >= 2, detached by the caller.
        bandwidth: length scale; the kernel is exp(-d^2 / (2 bandwidth^2)).
        pool_batch: one set of tokens for the whole batch; memory grows with (B N)^2.

    Returns:
        One value per image, (B,); one for the batch, (1,), with ``pool_batch``. It can dip below zero: do not clamp
        it, that would remove the gradient exactly where the two distributions meet.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    fake, real = _token_sets(fake, real, pool_batch)
    if fake.shape[1] < 2 or real.shape[1] < 2:
        raise ValueError(f"unbiased MMD needs at least 2 tokens a set, got {fake.shape[1]} and {real.shape[1]}")
    with torch.autocast(fake.device.type, enabled=False):
        # distances do not move with the origin, rounding does
        centre = real.mean(1, keepdim=True).detach()
        fake, real = fake - centre, real - centre
        cross = _rbf_minus_one(fake, real, bandwidth).mean((1, 2))
        return _off_diagonal_mean(fake, bandwidth) + _off_diagonal_mean(real, bandwidth) - 2 * cross


def _rbf_minus_one(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """Kernel matrix minus 1, (B, N, M). The ones cancel in the MMD; expm1 keeps the digits that they would hide."""
    square = x.square().sum(-1)[:, :, None] + y.square().sum(-1)[:, None, :] - 2 * x @ y.mT
    return torch.expm1(square / (-2 * bandwidth**2))


def _off_diagonal_mean(x: Tensor, bandwidth: float) -> Tensor:
    count = x.shape[1]
    kernel = _rbf_minus_one(x, x, bandwidth)
    return (kernel.sum((1, 2)) - kernel.diagonal(dim1=1, dim2=2).sum(1)) / (count * (count - 1))


def naive_patch(fake: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference of the two feature maps, token by token: the baseline, not the method.

    Args:
        fake: student features, (B, N, D), carries the gradient.
        real: target features of the same shape, detached by the caller.

    Returns:
        One value per image, (B,).
    """
    if fake.shape != real.shape or fake.ndim != 3:
        raise ValueError(f"naive_patch needs two (B, N, D) of one shape, got {tuple(fake.shape)}, {tuple(real.shape)}")
    fake, real = _token_sets(fake, real, pool_batch=False)
    return (fake - real).square().mean((1, 2))
