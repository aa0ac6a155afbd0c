"""Losses against slow references written from the definition."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from swd.losses import gan_discriminator_loss, gan_student_loss, pdm_linear, pdm_rbf


def mmd_by_loops(x: Tensor, y: Tensor, bandwidth: float) -> float:
    """Unbiased squared MMD, one pair of tokens at a time, in Python floats."""
    xs, ys = x.double().tolist(), y.double().tolist()

    def kernel(a: list[float], b: list[float]) -> float:
        return math.exp(-sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / (2 * bandwidth**2))

    def within(points: list[list[float]]) -> float:
        n = len(points)
        return sum(kernel(points[i], points[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    return within(xs) + within(ys) - 2 * sum(kernel(a, b) for a in xs for b in ys) / (len(xs) * len(ys))


@pytest.mark.parametrize("bandwidth", [0.5, 3.0, 100.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 5e-7)])
def test_rbf_is_the_double_loop(bandwidth: float, dtype: torch.dtype, tolerance: float) -> None:
    rng = torch.Generator().manual_seed(0)
    fake = torch.randn(3, 11, 4, generator=rng, dtype=torch.float64) + 0.3
    real = 1.5 * torch.randn(3, 7, 4, generator=rng, dtype=torch.float64)
    by_loops = [mmd_by_loops(x, y, bandwidth) for x, y in zip(fake, real, strict=True)]
    actual = pdm_rbf(fake.to(dtype), real.to(dtype), bandwidth=bandwidth).double()
    # of 1 - kernel, which is what the estimate is made of; the loops themselves round at 1e-15
    rounding = max(tolerance * min(1, 10 / bandwidth**2), 1e-14)
    torch.testing.assert_close(actual, torch.tensor(by_loops, dtype=torch.float64), rtol=0, atol=rounding)


def test_rbf_keeps_its_digits_at_the_published_bandwidth() -> None:
    """At bandwidth 100 every kernel value is near 1: subtracting them in float32 would leave two digits."""
    rng = torch.Generator().manual_seed(1)
    fake, real = torch.randn(2, 64, 32, generator=rng) + 5.1, torch.randn(2, 64, 32, generator=rng) + 5
    wide = pdm_rbf(fake.double(), real.double(), bandwidth=100.0)
    torch.testing.assert_close(pdm_rbf(fake, real, bandwidth=100.0).double(), wide, rtol=1e-4, atol=0)


def test_rbf_gradient_is_that_of_the_definition() -> None:
    rng = torch.Generator().manual_seed(2)
    fake = torch.randn(1, 6, 3, generator=rng, dtype=torch.float64).requires_grad_()
    real = torch.randn(1, 5, 3, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: pdm_rbf(x, real, bandwidth=1.3), (fake,))


def test_rbf_is_not_rounded_by_autocast() -> None:
    rng = torch.Generator().manual_seed(3)
    fake, real = torch.randn(2, 16, 8, generator=rng), torch.randn(2, 16, 8, generator=rng)
    plain = pdm_rbf(fake, real, bandwidth=5.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pdm_rbf(fake, real, bandwidth=5.0), plain)


def test_linear_is_the_formula() -> None:
    rng = torch.Generator().manual_seed(4)
    fake, real = torch.randn(2, 9, 6, generator=rng).double(), torch.randn(2, 4, 6, generator=rng).double()
    difference = fake.mean(1) - real.mean(1)
    expected = ((difference**2 + 1e-3**2).sqrt() - 1e-3).mean(1)
    torch.testing.assert_close(pdm_linear(fake, real), expected)


def test_gan_is_binary_cross_entropy() -> None:
    fake, real = torch.tensor([-3.0, 0.2, 40.0]), torch.tensor([5.0, -0.1])
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(gan_student_loss(fake), bce(fake, torch.ones(3)))
    expected = bce(fake, torch.zeros(3)) + bce(real, torch.ones(2))
    torch.testing.assert_close(gan_discriminator_loss(fake, real), expected)
