"""Patch distribution matching (PDM; SwD v1, section 4) and the naive patch loss it is compared with (v1, Table 6).

A transformer's image tokens are patches. Its features of an image at one block are F in R^{L x C}: L tokens, C wide (N
and D in the shapes below, where B, C, H, W are taken). F_fake are those of a student sample x0_hat and F_real those of
its target x0, both renoised with the same eps to the same sigma. PDM compares the *distribution* of patches of a
student sample with that of its target and ignores where a patch sits; the naive loss compares them place by place.
"""

import math

import torch
from torch import Tensor

from swd.errors import ConfigError
from swd.kernels import rbf_mmd
from swd.kernels.rbf import Method, wide
from swd.tensors import check_floating
from swd.values import flag, whole
from swd.values import real as real_number


class NonFiniteFeaturesError(ValueError):
    """Features with NaN or infinite values."""


class NoMedianError(ConfigError):
    """Tokens that are all alike, between which there is no median distance."""


def _token_sets(fake: Tensor, real: Tensor, pool_batch: bool) -> tuple[Tensor, Tensor]:
    """Features as sets of tokens: one set per image, or one for the whole batch."""
    check_floating(fake=fake, real=real)
    pool_batch = flag("pool_batch", pool_batch)
    if fake.ndim != 3 or real.ndim != 3 or len(fake) != len(real) or fake.shape[-1] != real.shape[-1]:
        raise ValueError(f"features must be (B, N, D) of one B and D, got {tuple(fake.shape)} and {tuple(real.shape)}")
    sets = [features.flatten(0, 1)[None] if pool_batch else features for features in (fake, real)]
    return sets[0], sets[1]


def pdm_linear(fake: Tensor, real: Tensor, *, huber_c: float = 1e-3, pool_batch: bool = False) -> Tensor:
    """PDM with a linear kernel: pseudo-Huber distance between mean tokens (SwD v1, section 4).

        L_PDM = mean over C of sqrt(d^2 + c^2) - c,   d = mean_l F_fake[l] - mean_l F_real[l]

    Args:
        fake: student features, (B, N, D), carries the gradient.
        real: target features, (B, M, D), detached by the caller.
        huber_c: c > 0, below which the distance is quadratic.
        pool_batch: average tokens over the batch too.

    Returns:
        One value per image, (B,); one for the batch, (1,), with ``pool_batch``.

    Raises:
        TypeError: no floating-point tensors, or no number.
        ValueError: empty tensors, shapes that do not match, or a ``huber_c`` that is not positive.
    """
    huber_c = real_number("huber_c", huber_c, above=0)
    fake, real = _token_sets(fake, real, pool_batch)
    square = (wide(fake).mean(1) - wide(real).mean(1)).square()
    # d^2 / (sqrt(d^2 + c^2) + c) is the same number without the cancellation
    return (square / ((square + huber_c**2).sqrt() + huber_c)).mean(-1)


def pdm_rbf(
    fake: Tensor,
    real: Tensor,
    *,
    bandwidth: float,
    pool_batch: bool = False,
    method: Method = "auto",
    check_finite: bool = True,
) -> Tensor:
    """PDM with an RBF kernel: unbiased squared MMD between the token sets (SwD v1, section 4).

        L_PDM = mean_{i != j} k(F_fake[i], F_fake[j]) + mean_{i != j} k(F_real[i], F_real[j])
                - 2 mean_{i, j} k(F_fake[i], F_real[j]),   k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))

    The paper writes sigma for the bandwidth, and takes 100.

    Args:
        fake: student features, (B, N, D), N >= 2, carries the gradient.
        real: target features, (B, M, D), M >= 2, taken as a constant.
        bandwidth: length scale of the kernel, > 0.
        pool_batch: one set of tokens for the whole batch.
        method: how it is computed, see `swd.kernels.rbf_mmd`; the values agree.
        check_finite: refuse features that are not finite; without, the value is NaN, as in compiled code.

    Returns:
        One value per image, (B,); one for the batch, (1,), with ``pool_batch``. It can dip below zero: do not clamp
        it, that would remove the gradient exactly where the two distributions meet.

    Raises:
        TypeError: no floating-point tensors, or no number.
        ValueError: shapes that do not match, fewer than two tokens, a bandwidth that is not positive.
        NonFiniteFeaturesError: NaN or infinite features; the message says whose.
    """
    fake, real = _token_sets(fake, real, pool_batch)
    check_finite = flag("check_finite", check_finite)
    value = rbf_mmd(fake, real, bandwidth, method=method)
    if check_finite and not torch.compiler.is_compiling() and not value.isfinite().all():
        _check_finite(fake=fake, real=real)
    return value


def _check_finite(**features: Tensor) -> None:
    for name, tokens in features.items():
        bad = (~tokens.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if bad:
            raise NonFiniteFeaturesError(f"{name} features hold NaN or infinite values, in sets {bad} of {len(tokens)}")


@torch.no_grad()
def median_distance(tokens: Tensor, *, most: int = 256) -> float:
    """Median distance between two tokens of an image: the usual length scale of an RBF kernel (Gretton et al., 2012).

    Args:
        tokens: features, (B, N, D) with N >= 2.
        most: tokens of an image that are compared, evenly spaced among all.

    Raises:
        TypeError: no floating-point tensor, or no whole number.
        NonFiniteFeaturesError: tokens with NaN or infinite values.
        NoMedianError: tokens that are all alike, between which there is no distance.
        ValueError: shapes.
    """
    check_floating(tokens=tokens)
    most = whole("most", most, 2)
    if tokens.ndim != 3 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be (B, N, D) with N of at least 2, got {tuple(tokens.shape)}")
    count = tokens.shape[1]
    chosen = torch.linspace(0, count - 1, min(most, count), device=tokens.device).round().long()
    some = wide(tokens)[:, chosen]
    upper = torch.triu_indices(len(chosen), len(chosen), 1, device=tokens.device)
    median = float(torch.cdist(some, some)[:, upper[0], upper[1]].median())
    if not math.isfinite(median):
        raise NonFiniteFeaturesError("tokens hold NaN or infinite values: they have no median distance")
    if median == 0:
        raise NoMedianError("the tokens of the batch are all alike: their median distance is 0 and no length scale")
    return median


def naive_patch(fake: Tensor, real: Tensor) -> Tensor:
    """Mean over L and C of (F_fake[l] - F_real[l])^2, token by token: the baseline of v1, Table 6, not the method.

    Args:
        fake: student features, (B, N, D), carries the gradient.
        real: target features of the same shape, detached by the caller.

    Returns:
        One value per image, (B,).

    Raises:
        TypeError: no floating-point tensors.
        ValueError: empty tensors, or shapes that differ.
    """
    check_floating(fake=fake, real=real)
    if fake.shape != real.shape or fake.ndim != 3:
        raise ValueError(f"naive_patch needs two (B, N, D) of one shape, got {tuple(fake.shape)}, {tuple(real.shape)}")
    fake, real = _token_sets(fake, real, pool_batch=False)
    return (wide(fake) - wide(real)).square().mean((1, 2))
