import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from swd.flow import FlowMatching, guide
from swd.losses import (
    dmd_gradient,
    dmd_loss,
    gan_discriminator_loss,
    gan_student_loss,
    naive_patch,
    pdm_linear,
    pdm_rbf,
)


def features(seed: int, batch: int = 2, tokens: int = 9, dim: int = 5) -> Tensor:
    return torch.randn(batch, tokens, dim, generator=torch.Generator().manual_seed(seed))


def test_dmd_gradient_by_hand() -> None:
    x0 = torch.zeros(2, 1, 1, 2)
    teacher = torch.tensor([[[[1.0, 3.0]]], [[[2.0, 2.0]]]])
    fake = torch.tensor([[[[2.0, 2.0]]], [[[2.0, 0.0]]]])
    expected = torch.tensor([[[[0.5, -0.5]]], [[[0.0, -1.0]]]])
    torch.testing.assert_close(dmd_gradient(x0, teacher, fake), expected)


def test_dmd_gradient_of_an_image_does_not_depend_on_the_others() -> None:
    x0, teacher, fake = (features(seed, 3).reshape(3, 5, 3, 3) for seed in range(3))
    torch.testing.assert_close(dmd_gradient(x0, teacher, fake)[1:2], dmd_gradient(x0[1:2], teacher[1:2], fake[1:2]))


def test_dmd_gradient_is_zero_where_nothing_sets_its_size() -> None:
    x0 = torch.ones(1, 2, 2, 2)
    assert dmd_gradient(x0, x0, x0).eq(0).all()
    assert dmd_gradient(x0, x0, x0 + 1).eq(0).all()


def test_dmd_gradient_does_not_hide_a_broken_network() -> None:
    x0 = torch.ones(1, 2, 2, 2)
    assert dmd_gradient(x0, x0 * math.nan, x0).isnan().all()


def test_dmd_loss_has_the_gradient_it_was_given() -> None:
    x0 = features(0).requires_grad_()
    gradient = features(1)
    dmd_loss(x0, gradient).backward()
    torch.testing.assert_close(x0.grad, gradient / x0.numel())


def test_dmd_descent_moves_towards_the_teacher_and_away_from_the_fake() -> None:
    x0, teacher, fake = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), -1.0)
    assert dmd_gradient(x0, teacher, fake).item() < 0


def test_gan_losses_by_hand() -> None:
    logits = torch.tensor([0.0, 2.0])
    log_2, at_2 = math.log(2), math.log1p(math.exp(-2.0))
    assert gan_student_loss(logits).item() == pytest.approx((log_2 + at_2) / 2)
    at_minus_2 = math.log1p(math.exp(2.0))
    assert gan_discriminator_loss(logits, logits).item() == pytest.approx((log_2 + at_minus_2) / 2 + (log_2 + at_2) / 2)


def test_pdm_linear_by_hand() -> None:
    fake = torch.tensor([[[0.0, 0.0], [2.0, 6.0]]])  # mean (1, 3)
    real = torch.tensor([[[1.0, 0.0]]])
    expected = (math.sqrt(9 + 0.25) - 0.5) / 2
    torch.testing.assert_close(pdm_linear(fake, real, huber_c=0.5), torch.tensor([expected]))


def test_pdm_linear_keeps_small_differences() -> None:
    fake = torch.full((1, 4, 3), 1e-6)
    assert pdm_linear(fake, torch.zeros(1, 4, 3)).item() == pytest.approx(1e-12 / 2e-3, rel=1e-3)


@pytest.mark.parametrize("loss", [pdm_linear, lambda f, r, **kw: pdm_rbf(f, r, bandwidth=2.0, **kw)])
def test_pdm_takes_sets_of_different_sizes_and_pools_batches(loss: Callable[..., Tensor]) -> None:
    fake, real = features(0, tokens=9), features(1, tokens=4)
    assert loss(fake, real).shape == (2,)
    pooled = loss(fake, real, pool_batch=True)
    torch.testing.assert_close(pooled, loss(fake.reshape(1, 18, 5), real.reshape(1, 8, 5)))


def test_rbf_sees_what_the_mean_does_not() -> None:
    real = features(0, batch=1, tokens=400)
    real = real - real.mean(1, keepdim=True)
    wide = 3 * real
    assert pdm_linear(wide, real).item() < 1e-6
    assert pdm_rbf(wide, real, bandwidth=2.0).item() > 0.05


def test_losses_pull_the_student_and_leave_the_target() -> None:
    for loss in (pdm_linear, naive_patch, lambda f, r: pdm_rbf(f, r, bandwidth=3.0)):
        fake, real = (features(0) + 1).requires_grad_(), features(1).requires_grad_()
        loss(fake, real.detach()).sum().backward()
        assert real.grad is None
        assert fake.grad.mean() > 0  # descending lowers the features that sit one too high


@pytest.mark.parametrize("loss", [pdm_linear, naive_patch, lambda f, r: pdm_rbf(f, r, bandwidth=2.0)])
def test_patch_losses_keep_double_precision_and_widen_half(loss: Callable[..., Tensor]) -> None:
    fake, real = features(0).double(), features(1).double()
    nudged = fake + 1e-12
    assert loss(fake, real).dtype == torch.float64
    assert not torch.equal(loss(nudged, real), loss(fake, real))
    half = loss(fake.bfloat16(), real.bfloat16())
    assert half.dtype == torch.float32
    wide = loss(fake.bfloat16().double(), real.bfloat16().double())
    torch.testing.assert_close(half, wide.float(), rtol=1e-4, atol=1e-6)


def test_naive_patch_by_hand_minds_the_places() -> None:
    fake, real = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[1.0], [0.0]]])
    assert naive_patch(fake, real).item() == 1
    assert pdm_linear(fake, real).item() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pdm_linear(features(0), features(1, dim=4)), r"\(2, 9, 5\) and \(2, 9, 4\)"),
        (lambda: pdm_linear(features(0), features(1, batch=1)), "one B and D"),
        (lambda: pdm_linear(features(0), features(1), huber_c=0), "huber_c must be finite and positive"),
        (lambda: pdm_rbf(features(0), features(1), bandwidth=0), "bandwidth must be finite and positive, got 0"),
        (lambda: pdm_rbf(features(0), features(1, tokens=1), bandwidth=1), "at least 2 tokens"),
        (lambda: naive_patch(features(0), features(1, tokens=4)), "one shape"),
        (lambda: dmd_gradient(features(0), features(1), features(1, tokens=4)), "one shape"),
    ],
)
def test_bad_shapes_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, number: FlowMatching().add_noise(x, x, number),
        lambda x, number: guide(x, x, number),
        lambda x, number: pdm_linear(x.flatten(2), x.flatten(2), huber_c=number),
        lambda x, number: pdm_rbf(x.flatten(2), x.flatten(2), bandwidth=number, check_finite=False),
    ],
    ids=["add_noise", "guide", "pdm_linear", "pdm_rbf"],
)
def test_a_number_that_varies_breaks_no_graph(call: Any) -> None:
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, backend="eager")
    x = torch.randn(2, 4, 4, 4)
    for number in (0.25, 0.5, 0.75):
        torch.testing.assert_close(compiled(x, number), call(x, number))
