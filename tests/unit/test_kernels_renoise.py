"""Upscaling and renoising in one pass: Triton's kernel, on a GPU or by its interpreter, against torch in float64."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from swd.flow import FlowMatching
from swd.kernels import renoise, upscale_renoise
from swd.resize import upscale_bicubic

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def drawn(size: tuple[int, int], larger: tuple[int, int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(3, 4, *shape, generator=rng).to(dtype) for shape in (size, larger))
    return [x0, noise, torch.tensor([0.0, 0.7, 1.0])]


def expected(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    size = (noise.shape[-2], noise.shape[-1])
    return FlowMatching().add_noise(upscale_bicubic(x0.double(), size), noise.double(), sigma.double())


def test_eager_is_the_two_steps() -> None:
    given = drawn((8, 6), (12, 11))
    torch.testing.assert_close(upscale_renoise(*given).double(), expected(*given), rtol=1e-5, atol=1e-5)
    assert upscale_renoise(*drawn((8, 6), (12, 11), torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton exists for Linux only")
class TestTriton:
    def launch(self, *given: Tensor) -> Tensor:
        from swd.kernels.triton_renoise import upscale_renoise as launch

        return launch(*(tensor.to(DEVICE) for tensor in given)).cpu()

    @pytest.mark.parametrize(
        ("size", "larger"),
        [((8, 8), (16, 16)), ((12, 12), (18, 18)), ((5, 7), (5, 7)), ((1, 2), (3, 31)), ((9, 4), (40, 20))],
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_it_is_the_two_steps(self, size: tuple[int, int], larger: tuple[int, int], dtype: torch.dtype) -> None:
        given = drawn(size, larger, dtype)
        found, exact = self.launch(*given), expected(*given)
        rounding = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=rounding, atol=rounding)

    def test_noise_alone_is_left_as_it_is(self) -> None:
        x0, noise, sigma = drawn((8, 8), (16, 16))
        found = self.launch(x0, noise, torch.ones_like(sigma))
        assert torch.equal(found, noise)

    def test_strides_do_not_matter(self) -> None:
        x0, noise, sigma = drawn((8, 8), (12, 12))
        turned = x0.mT, noise.to(memory_format=torch.channels_last), sigma[1].expand(3)  # as the sampler's levels are
        straight = x0.mT.contiguous(), noise, sigma[1].repeat(3)
        torch.testing.assert_close(self.launch(*turned), self.launch(*straight))

    def test_the_operator_launches_it(self) -> None:
        given = [tensor.to(DEVICE) for tensor in drawn((8, 8), (12, 12))]
        checks = ("test_schema", "test_faketensor")
        torch.library.opcheck(renoise._upscale_renoise, tuple(given), test_utils=checks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "fast"}, "method must be one of auto, eager, triton, got 'fast'"),
        ({"noise": torch.zeros(3, 5, 12, 12)}, r"agree in B and C, got \(3, 4, 8, 8\), \(3, 5, 12, 12\), \(3,\)"),
        ({"sigma": torch.zeros(2)}, "agree in B and C"),
        ({"noise": torch.zeros(3, 4, 6, 12)}, "cannot upscale"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    given = {**dict(zip(("x0", "noise", "sigma"), drawn((8, 8), (12, 12)), strict=True)), **change}
    with pytest.raises(ValueError, match=message):
        upscale_renoise(given.pop("x0"), given.pop("noise"), given.pop("sigma"), **given)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_triton_on_the_gpu() -> None:
    given = [tensor.cuda() for tensor in drawn((8, 6), (12, 11))]
    torch.testing.assert_close(upscale_renoise(*given, method="triton"), upscale_renoise(*given, method="eager"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="needs CUDA and at most float32"):
        upscale_renoise(*drawn((8, 8), (12, 12)), method="triton")
