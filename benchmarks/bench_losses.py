"""Patch losses, forward and backward, with the tokens of the mini world (256) and of an SD3.5 Medium scale (1,600)."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from swd.losses import naive_patch, pdm_linear, pdm_rbf

LOSSES = {"linear": pdm_linear, "rbf": partial(pdm_rbf, bandwidth=100.0), "naive": naive_patch}


@pytest.mark.parametrize("shape", [(16, 256, 128), (1, 1600, 1536)], ids=["mini", "sd35-medium"])
@pytest.mark.parametrize("name", LOSSES)
def bench_patch_loss(benchmark: BenchmarkFixture, name: str, shape: tuple[int, int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    fake, real = (torch.randn(shape, generator=rng) for _ in range(2))
    gradient = benchmark(backward, LOSSES[name], fake.requires_grad_(), real)
    assert gradient.isfinite().all()


def backward(loss: Callable[[Tensor, Tensor], Tensor], fake: Tensor, real: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(fake, real).sum(), fake)
    return gradient
