"""The RBF-MMD in strips against float64, autograd and the eager form; Triton's on a GPU or by its interpreter."""

import importlib.util
import math
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from profiled import peak_bytes
from torch import Tensor

from swd.kernels import rbf, rbf_mmd
from swd.losses import pdm_rbf
from swd.losses.patch import NonFiniteFeaturesError


def tokens(images: int, count: int, width: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """With a mean far from 0, as features of a transformer have."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.randn(images, count, width, generator=rng) + 5 * torch.randn(width, generator=rng)).to(dtype)


def definition(fake: Tensor, real: Tensor, bandwidth: float) -> Tensor:
    """The statistic as it is written down, in float64 with whole matrices."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-(a[:, :, None] - b[:, None]).square().sum(-1) / (2 * bandwidth**2))

    def within(a: Tensor) -> Tensor:
        off = ~torch.eye(a.shape[1], dtype=torch.bool)
        return kernel(a, a)[:, off].mean(1)

    fake, real = fake.double(), real.double()
    return within(fake) + within(real) - 2 * kernel(fake, real).mean((1, 2))


def with_gradient(
    fake: Tensor, real: Tensor, bandwidth: float, method: str, *, loss_scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    fake = fake.detach().requires_grad_()
    value = rbf_mmd(fake, real, bandwidth, method=method)
    (loss_scale * value).sum().backward()
    return value.detach(), fake.grad


@pytest.mark.parametrize("method", ["eager", "chunked"])
@pytest.mark.parametrize(("n", "m", "width"), [(2, 2, 24), (257, 3, 24), (65, 129, 1), (40, 40, 1536)])
@pytest.mark.parametrize("wide", [0.5, 20.0])
def test_value_and_gradient_are_those_of_the_definition(
    method: str, n: int, m: int, width: int, wide: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rbf, "STRIP_BYTES", 4 * 3 * 200 * 11)  # strips that end in the middle of the sets
    fake, real, bandwidth = tokens(3, n, width, 0), tokens(3, m, width, 1) * 1.1, wide * math.sqrt(width)
    exact = fake.double().requires_grad_()
    expected = definition(exact, real, bandwidth)
    expected.sum().backward()
    value, gradient = with_gradient(fake, real, bandwidth, method)
    torch.testing.assert_close(value.double(), expected.detach(), rtol=1e-4, atol=1e-7)
    error = (gradient.double() - exact.grad).norm() / exact.grad.norm()
    assert error < 1e-4


def test_gradcheck_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rbf, "STRIP_BYTES", 8 * 2 * 7 * 3)
    fake, real = tokens(2, 7, 3, 0, torch.float64).requires_grad_(), tokens(2, 5, 3, 1, torch.float64)
    assert torch.autograd.gradcheck(lambda x: rbf_mmd(x, real, 2.0, method="chunked"), (fake,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    fake, real = (tokens(2, 100, 24, seed, dtype) for seed in (0, 1))
    value, gradient = with_gradient(fake, real, 5.0, "chunked")
    expected, exact = with_gradient(fake.float(), real.float(), 5.0, "eager")
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradient.float(), exact, rtol=2e-2, atol=1e-2 * exact.abs().max().item())


def test_half_precision_keeps_a_gradient_that_a_loss_scale_will_raise() -> None:
    fake, real = (tokens(1, 2000, 4, seed, torch.float16).requires_grad_() for seed in (0, 1))
    found = []
    for method in ("eager", "chunked"):
        (gradient,) = torch.autograd.grad(2**14 * rbf_mmd(fake, real.detach(), 100.0, method=method).sum(), fake)
        found.append(gradient.float())
    assert (found[1] - found[0]).norm() < 1e-2 * found[0].norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("n", "m", "width"), [(257, 300, 200), (2, 4099, 24), (4099, 65, 1536), (130, 257, 2432)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_triton_on_the_gpu(n: int, m: int, width: int, dtype: torch.dtype) -> None:
    fake, real = (tokens(3, count, width, seed, dtype).cuda() for count, seed in ((n, 0), (m, 1)))
    scale = 2.0**14 if dtype == torch.float16 else 1.0  # as a gradient scaler does: 1e-7 is no number in float16
    value, gradient = with_gradient(fake, real, width**0.5, "triton", loss_scale=scale)
    expected, exact = with_gradient(fake.double(), real.double(), width**0.5, "eager", loss_scale=scale)
    loose = dtype != torch.float32  # TF32 would be too
    torch.testing.assert_close(value.double(), expected, rtol=1e-2 if loose else 1e-4, atol=1e-4 if loose else 1e-6)
    assert (gradient.double() - exact).norm() < (2e-2 if loose else 1e-4) * exact.norm()


@pytest.mark.parametrize(
    ("dtype", "card", "method"),
    [
        (torch.bfloat16, (9, 0), "triton"),
        (torch.float16, (9, 0), "triton"),
        (torch.float32, (9, 0), "chunked"),
        (torch.bfloat16, (8, 0), "chunked"),
        (torch.bfloat16, None, "chunked"),
    ],
)
def test_strips_are_tritons_where_it_was_measured(
    dtype: torch.dtype, card: tuple[int, int] | None, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an H100, in half precision: a sixth of the time of torch's."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: card)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    device = torch.device("cpu" if card is None else "cuda:0")
    given = MagicMock(dtype=dtype, device=device)
    assert rbf._strips(given, given) == method


def test_strides_do_not_matter() -> None:
    fake, real = tokens(2, 24, 33, 0).mT, tokens(4, 50, 24, 1)[::2]
    assert not fake.is_contiguous()
    expected = with_gradient(fake.contiguous(), real.contiguous(), 4.0, "chunked")
    torch.testing.assert_close(with_gradient(fake, real, 4.0, "chunked"), expected)


def test_the_operator_keeps_torchs_rules() -> None:
    fake, real = tokens(2, 9, 4, 0).requires_grad_(), tokens(2, 6, 4, 1)
    # without its last check, which asks for the gradient of the gradient
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(rbf._rbf_mmd, (fake, real, 2.0, True, False), test_utils=checks)
    torch.library.opcheck(rbf._rbf_mmd, (fake.detach(), real, 2.0, False, False))


def test_compiled_code_computes_the_same() -> None:
    fake, real = tokens(2, 30, 8, 0), tokens(2, 20, 8, 1)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return pdm_rbf(x, y, bandwidth=3.0, method="chunked").sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(_gradient(compiled, fake, real), _gradient(loss, fake, real))


def _gradient(loss: Any, fake: Tensor, real: Tensor) -> Tensor:
    fake = fake.detach().requires_grad_()
    loss(fake, real).backward()
    return fake.grad


def test_memory_grows_with_the_tokens_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rbf, "STRIP_BYTES", 2**20)

    fake, real = tokens(1, 2048, 16, 0).requires_grad_(), tokens(1, 2048, 16, 1)

    def peak(method: str) -> int:
        return peak_bytes(lambda: rbf_mmd(fake, real, 4.0, method=method).sum().backward())

    assert peak("chunked") < 8 * 2**20
    assert peak("eager") > 64 * 2**20


def test_auto_goes_in_strips_on_a_cpu_and_elsewhere_once_the_matrices_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager: list[int] = []
    monkeypatch.setattr(rbf, "_eager", lambda fake, real, bandwidth: eager.append(1) or fake.sum((1, 2)))
    fake, real = tokens(1, 40, 4, 0), tokens(1, 40, 4, 1)
    rbf_mmd(fake, real, 2.0)
    assert not eager
    rbf_mmd(fake.to("meta"), real.to("meta"), 2.0)
    assert eager == [1]
    monkeypatch.setattr(rbf, "EAGER_BYTES", 1000)
    rbf_mmd(fake.to("meta"), real.to("meta"), 2.0)
    assert eager == [1]


def test_only_first_derivatives_go_through_strips() -> None:
    fake, real = tokens(1, 5, 3, 0).requires_grad_(), tokens(1, 5, 3, 1)
    (gradient,) = torch.autograd.grad(rbf_mmd(fake, real, 2.0, method="chunked"), fake, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"real": torch.zeros(2, 4, 5)}, r"one B and D, got \(2, 4, 3\) and \(2, 4, 5\)"),
        ({"real": torch.zeros(2, 1, 3)}, "at least 2 tokens a set, got 4 and 1"),
        ({"bandwidth": 0.0}, "bandwidth must be finite and positive, got 0.0"),
        ({"bandwidth": math.nan}, "bandwidth must be finite and positive, got nan"),
        ({"method": "fast"}, "method must be one of auto, eager, chunked, triton, got 'fast'"),
        ({"method": "triton"}, "'triton' needs CUDA and one dtype of at most float32, got torch.float32 on cpu"),
        (
            {"real": torch.full((2, 4, 3), math.nan)},
            r"real features hold NaN or infinite values, in sets \[0, 1\] of 2",
        ),
    ],
)
def test_what_cannot_be_computed_is_named(change: dict[str, Any], message: str) -> None:
    given = {"fake": torch.zeros(2, 4, 3), "real": torch.zeros(2, 4, 3), "bandwidth": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        pdm_rbf(given.pop("fake"), given.pop("real"), **given)


@pytest.mark.parametrize("method", ["eager", "chunked"])
@pytest.mark.parametrize(
    ("real", "bandwidth", "message"),
    [
        (torch.zeros(1, 4, 3), 1.0, r"one B and D, got \(2, 4, 3\) and \(1, 4, 3\)"),
        (torch.zeros(2, 1, 3), 1.0, "at least 2 tokens a set, got 4 and 1"),
        (torch.zeros(2, 4, 3), 0.0, "bandwidth must be finite and positive, got 0.0"),
    ],
)
def test_the_operator_alone_checks_too(method: str, real: Tensor, bandwidth: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rbf_mmd(torch.zeros(2, 4, 3), real, bandwidth, method=method)


@pytest.mark.parametrize("method", ["eager", "chunked"])
def test_not_a_number_names_the_set(method: str) -> None:
    """Unless it is to pass through, as in training, where the trainer stops on it."""
    fake = torch.zeros(3, 4, 2)
    fake[1, 2, 0] = math.nan
    with pytest.raises(NonFiniteFeaturesError, match=r"fake features .* in sets \[1\] of 3"):
        pdm_rbf(fake, torch.zeros(3, 4, 2), bandwidth=1.0, method=method)
    value = pdm_rbf(fake, torch.zeros(3, 4, 2), bandwidth=1.0, method=method, check_finite=False)
    assert value.isnan().tolist() == [False, True, False]


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def launched(*given: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """What the operator calls, on the device that there is."""
    from swd.kernels.triton_rbf import rbf_strip

    moved = [value.to(DEVICE) if isinstance(value, Tensor) else value for value in given]
    strip, sums = rbf_strip(*moved, **options)
    return strip.cpu(), sums.cpu()


def triton_strip(x: Tensor, y: Tensor, factor: float, lift: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    return launched(x, y, rbf._squares(x), rbf._squares(y), factor, lift, **options)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton exists for Linux only")
class TestTriton:
    """On a GPU where there is one, else by the interpreter: a strip, then the statistic with it in place of torch's."""

    @pytest.mark.parametrize(
        ("n", "m", "width"), [(1, 1, 24), (2, 257, 24), (257, 70, 100), (3, 5, 1536), (130, 3, 2432), (33, 4099, 24)]
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_strip_is_that_of_float64(self, n: int, m: int, width: int, dtype: torch.dtype) -> None:
        x, y = ((tokens(2, count, width, seed) - 5).to(dtype) for count, seed in ((n, 0), (m, 1)))
        factor = -1 / (30 * width)
        expected = torch.expm1(factor * (x.double()[:, :, None] - y.double()[:, None]).square().sum(-1))
        expected[1] += 0.3
        lift = torch.tensor([0.0, 0.3])
        strip, sums = triton_strip(x, y, factor, lift)
        rounding = 1e-5 if dtype == torch.float32 else 8e-3 if dtype == torch.bfloat16 else 1e-3
        torch.testing.assert_close(strip.double(), expected, rtol=rounding, atol=1e-5)
        torch.testing.assert_close(sums.double(), expected.sum(-1), rtol=1e-4, atol=1e-4)

    def test_diagonal_counts_as_nothing_and_strides_do_not_matter(self) -> None:
        whole, lift = tokens(2, 24, 40, 0).mT - 5, torch.tensor([0.1, 0.2])
        strip, sums = triton_strip(whole[:, 7:20], whole, -0.01, lift, diagonal=7)
        part, straight = whole[:, 7:20].contiguous(), whole.contiguous()
        squares = rbf._squares(part), rbf._squares(straight)
        expected, expected_sums = rbf._torch_strip(part, straight, *squares, -0.01, lift, diagonal=7)
        torch.testing.assert_close(strip, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(sums, expected_sums, rtol=1e-4, atol=1e-4)
        assert not strip.diagonal(offset=7, dim1=1, dim2=2).any()

    def test_small_values_keep_their_digits(self) -> None:
        x, y = torch.zeros(1, 1, 16), torch.zeros(1, 3, 16)
        y[0, :, 0] = torch.tensor([1e-3, 1.0, 30.0])
        strip, _ = triton_strip(x, y, -1e-3, torch.zeros(1))
        torch.testing.assert_close(
            strip.double()[0, 0], torch.expm1(-1e-3 * y[0, :, 0].double() ** 2), rtol=1e-6, atol=0
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_statistic_with_it_is_the_same(self, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rbf, "_triton_strip", launched)
        fake, real = (tokens(2, count, 24, seed, dtype) for count, seed in ((70, 0), (40, 1)))
        value, pulls = rbf._rbf_mmd(fake, real, 5.0, True, True)
        gradient = 2 / (70 * 5.0**2) * pulls.float()
        expected, exact = with_gradient(fake.float(), real.float(), 5.0, "eager")
        loose = dtype == torch.bfloat16
        torch.testing.assert_close(value, expected, rtol=2e-2 if loose else 1e-4, atol=1e-4)
        error = (gradient.float() - exact).norm() / exact.norm()
        assert error < (2e-2 if loose else 1e-4)
