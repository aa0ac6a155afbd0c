"""AdaLN and the gated residual: Triton's kernels, on a GPU or by its interpreter, and torch, against float64."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.normalization import AdaLayerNormZero
from torch import Tensor

from swd.kernels import gated_residual, layer_norm_modulate, modulate

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPS = 1e-6
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
Operator = Callable[..., Tensor]


def drawn(tokens: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Two sets of tokens that are far from normal, and two rows of modulation, which lie in one tensor as in a DiT."""
    rng = torch.Generator().manual_seed(0)
    x, y = (3 + 2 * torch.randn(2, tokens, width, generator=rng) for _ in range(2))
    rows = torch.randn(2, 6 * width, generator=rng).to(dtype).chunk(6, dim=1)
    return [x.to(dtype), y.to(dtype), rows[1], rows[4]]


def modulated(x: Tensor, _: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt()
    return normal * (1 + scale[:, None]) + shift[:, None]


def gated(x: Tensor, y: Tensor, gate: Tensor, _: Tensor) -> Tensor:
    return x + gate[:, None] * y


def gradients(run: Operator, given: list[Tensor], weights: Tensor) -> list[Tensor | None]:
    leaves = [tensor.detach().requires_grad_() for tensor in given]
    total = (run(*leaves) * weights).sum()
    return list(torch.autograd.grad(total, leaves, allow_unused=True))


def assert_agrees(run: Operator, exact: Operator, given: list[Tensor], dtype: torch.dtype) -> None:
    """Values and gradients, within the rounding of the result."""
    weights = torch.randn(given[0].shape, generator=torch.Generator().manual_seed(1)).to(given[0].device)
    doubles = [tensor.double() for tensor in given]
    found = run(*given)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact(*doubles), rtol=ROUNDING[dtype], atol=ROUNDING[dtype])
    pairs = zip(gradients(run, given, weights.to(dtype)), gradients(exact, doubles, weights.to(dtype)), strict=True)
    for ours, theirs in pairs:
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert (ours - theirs).norm() <= 2 * ROUNDING[dtype] * theirs.norm()


EAGER: dict[str, tuple[Operator, Operator]] = {
    "modulate": (lambda x, _, scale, shift: layer_norm_modulate(x, scale, shift, method="eager"), modulated),
    "gate": (lambda x, y, gate, _: gated_residual(x, y, gate, method="eager"), gated),
}
TRITON: dict[str, tuple[Operator, Operator]] = {
    "modulate": (lambda x, _, scale, shift: modulate._modulate(x, scale, shift, EPS)[0], modulated),
    "gate": (lambda x, y, gate, _: modulate._gated_residual(x, y, gate), gated),
}


@pytest.mark.parametrize("which", EAGER)
@pytest.mark.parametrize("dtype", ROUNDING)
def test_eager_is_the_formula(which: str, dtype: torch.dtype) -> None:
    assert_agrees(*EAGER[which], drawn(7, 24, dtype), dtype)


@pytest.mark.parametrize("which", EAGER)
def test_eager_has_the_gradients_of_what_it_computes(which: str) -> None:
    run = EAGER[which][0]
    given = [tensor.requires_grad_() for tensor in drawn(3, 5, torch.float64)]
    assert torch.autograd.gradcheck(run, given)


def test_it_is_what_diffusers_blocks_do() -> None:
    x, _, embedding, _ = drawn(7, 24)
    layer = AdaLayerNormZero(24)
    shift, scale, *_ = layer.linear(layer.silu(embedding)).chunk(6, dim=1)
    torch.testing.assert_close(layer_norm_modulate(x, scale, shift), layer(x, emb=embedding)[0])


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton exists for Linux only")
class TestTriton:
    @pytest.mark.parametrize("which", TRITON)
    @pytest.mark.parametrize("dtype", ROUNDING)
    @pytest.mark.parametrize(("tokens", "width"), [(1, 24), (2, 1536), (33, 24), (3, 2432)])
    def test_it_is_the_formula(self, which: str, dtype: torch.dtype, tokens: int, width: int) -> None:
        given = [tensor.to(DEVICE) for tensor in drawn(tokens, width, dtype)]
        assert_agrees(*TRITON[which], given, dtype)

    @pytest.mark.parametrize("which", TRITON)
    def test_strides_do_not_matter(self, which: str) -> None:
        x, y, scale, shift = (tensor.to(DEVICE) for tensor in drawn(24, 24))
        turned = [x.mT, y.mT, scale[:1].expand(2, -1), shift]
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE).mT
        straight = [tensor.contiguous() for tensor in turned]
        run, _ = TRITON[which]
        torch.testing.assert_close(run(*turned), run(*straight))
        pairs = zip(gradients(run, turned, weights), gradients(run, straight, weights.contiguous()), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs)

    @pytest.mark.parametrize("which", TRITON)
    def test_rows_may_be_wider_than_tokens(self, which: str) -> None:
        x, y, scale, shift = (tensor.to(DEVICE) for tensor in drawn(3, 24, torch.bfloat16))
        run, exact = TRITON[which]
        assert_agrees(run, exact, [x, y, scale.float(), shift.float()], torch.bfloat16)

    @pytest.mark.parametrize("which", TRITON)
    def test_gradients_are_for_those_who_ask(self, which: str) -> None:
        x, y, scale, shift = (tensor.to(DEVICE) for tensor in drawn(3, 24))
        run, _ = TRITON[which]
        weights = torch.ones_like(x)
        whole = gradients(run, [x, y, scale, shift], weights)
        leaf = x.clone().requires_grad_()
        (alone,) = torch.autograd.grad((run(leaf, y, scale, shift) * weights).sum(), leaf)
        torch.testing.assert_close(alone, whole[0])

    def test_second_derivatives_of_the_norm_are_refused(self) -> None:
        x, _, scale, shift = (tensor.to(DEVICE).requires_grad_() for tensor in drawn(3, 8))
        out = modulate._modulate(x, scale, shift, EPS)[0]
        (gradient,) = torch.autograd.grad(out.square().sum(), scale, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.sum().backward()

    @pytest.mark.parametrize("which", TRITON)
    def test_operators_are_registered_whole(self, which: str) -> None:
        x, y, scale, shift = (tensor.to(DEVICE).requires_grad_() for tensor in drawn(3, 8))
        given = {
            "modulate": (modulate._modulate, (x, scale, shift, EPS)),
            "gate": (modulate._gated_residual, (x, y, scale)),
        }
        checks = ("test_schema", "test_faketensor", "test_autograd_registration", "test_aot_dispatch_dynamic")
        torch.library.opcheck(*given[which], test_utils=checks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "fast"}, "method must be one of auto, eager, triton, got 'fast'"),
        ({"scale": torch.zeros(2, 7)}, r"agree in B and D, got \(2, 3, 8\), \(2, 7\), \(2, 8\)"),
        ({"shift": torch.zeros(1, 8)}, "agree in B and D"),
        ({"x": torch.zeros(2, 8)}, "agree in B and D"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    x, _, scale, shift = drawn(3, 8)
    given = {"x": x, "scale": scale, "shift": shift, **change}
    with pytest.raises(ValueError, match=message):
        layer_norm_modulate(given.pop("x"), given.pop("scale"), given.pop("shift"), **given)


def test_branches_of_another_shape_are_refused() -> None:
    x, y, gate, _ = drawn(3, 8)
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3, 8\) and \(2, 2, 8\)"):
        gated_residual(x, y[:, :2], gate)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_triton_on_the_gpu() -> None:
    x, y, scale, shift = (tensor.cuda() for tensor in drawn(4099, 1536))
    for run, given in ((layer_norm_modulate, (x, scale, shift)), (gated_residual, (x, y, scale))):
        torch.testing.assert_close(run(*given, method="triton"), run(*given, method="eager"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_kernels_are_refused() -> None:
    x, y, scale, shift = drawn(3, 8)
    for run, given in ((layer_norm_modulate, (x, scale, shift)), (gated_residual, (x, y, scale))):
        with pytest.raises(ValueError, match="needs CUDA and at most float32"):
            run(*given, method="triton")
