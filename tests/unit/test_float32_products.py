"""Products of half precision in float32: what is rounded, and what is left alone."""

import pytest
import torch
from torch.nn import functional as F

from repro.stages.float32_products import float32_products


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_are_those_of_float32_rounded_once(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=rng).to(dtype) for shape in ((3, 40), (24, 40), (24,)))
    image, kernel = (torch.randn(shape, generator=rng).to(dtype) for shape in ((1, 4, 8, 8), (6, 4, 3, 3)))
    with float32_products():
        found = F.linear(x, weight, bias), x @ weight.T, F.conv2d(image, kernel, padding=1)
    wide = x.float(), weight.float(), bias.float()
    expected = F.linear(*wide), wide[0] @ wide[1].T, F.conv2d(image.float(), kernel.float(), padding=1)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, theirs.to(dtype), rtol=0, atol=0)


def test_the_way_back_too() -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(3, 40, generator=rng), torch.randn(24, 40, generator=rng), torch.randn(3, 24, generator=rng)
    x, weight, upstream = (value.bfloat16() for value in values)
    x.requires_grad_()
    weight.requires_grad_()
    with float32_products():
        F.linear(x, weight).backward(upstream)
    torch.testing.assert_close(x.grad, (upstream.float() @ weight.float()).bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(weight.grad, (upstream.float().T @ x.float()).bfloat16(), rtol=0, atol=0)


def test_float32_and_sums_are_left_alone() -> None:
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    with float32_products():
        assert torch.equal(x @ x.T, x @ x.T)
        total = x.bfloat16().sum()
    assert total.dtype == torch.bfloat16
    assert torch.equal(total, x.bfloat16().sum())
