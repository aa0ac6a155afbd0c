"""What a DiT block does around attention and MLP: normalise and modulate tokens, and add a branch through a gate.

Both only move memory. Operator by operator a token is read and written several times; a kernel does it once, and once
more on the way back to the token. Gradients of scale, shift and gate go by plain torch: where the adapters leave AdaLN
alone, as ours do, nobody asks for them.
"""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ModulateMethod = Literal["auto", "eager", "triton"]


def layer_norm_modulate(
    x: Tensor, scale: Tensor, shift: Tensor, *, eps: float = 1e-6, method: ModulateMethod = "auto"
) -> Tensor:
    """LayerNorm without weights of its own, then (1 + scale) x + shift: AdaLN, as in DiT (arXiv 2212.09748).

    Args:
        x: tokens, (B, L, D).
        scale: (B, D).
        shift: (B, D).
        eps: added to the variance.
        method: "eager", plain torch; "triton", one pass on CUDA, first derivatives only. "auto" is eager, which
            torch.compile fuses, with what is around it too: on an H100 that beats the kernel at width 1,536 (0.549
            against 0.598 ms) and loses at 2,432 (0.879 and 0.617). ``gated_residual``'s kernel won at both (0.395
            and 0.527, against 0.513 and 0.558), by times of single calls, which hold their launch.

    Returns:
        (B, L, D) in the dtype of ``x``; the arithmetic is that of float32, or wider.

    Raises:
        ValueError: an unknown method, one that cannot run here, or shapes that do not fit.
    """
    _check(method, x, scale, shift)
    if method == "triton":
        modulated: Tensor = _modulate(x, scale, shift, eps)[0]
        return modulated
    dtype = torch.promote_types(x.dtype, torch.float32)
    normal = F.layer_norm(x.to(dtype), x.shape[-1:], eps=eps)
    return (normal * (1 + scale.to(dtype)[:, None]) + shift.to(dtype)[:, None]).to(x.dtype)


def gated_residual(x: Tensor, y: Tensor, gate: Tensor, *, method: ModulateMethod = "auto") -> Tensor:
    """A branch through its gate: x + gate y.

    Args:
        x: (B, L, D).
        y: the branch, (B, L, D).
        gate: (B, D).
        method: as for ``layer_norm_modulate``.

    Returns:
        (B, L, D) in the dtype of ``x``; the arithmetic is that of float32, or wider.

    Raises:
        ValueError: an unknown method, one that cannot run here, or shapes that do not fit.
    """
    _check(method, x, gate, branch=y)
    if y.shape != x.shape:
        raise ValueError(f"x and y must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    if method == "triton":
        gated: Tensor = _gated_residual(x, y, gate)
        return gated
    dtype = torch.promote_types(x.dtype, torch.float32)
    return (x.to(dtype) + gate.to(dtype)[:, None] * y.to(dtype)).to(x.dtype)


def _check(method: str, x: Tensor, *rows: Tensor, branch: Tensor | None = None) -> None:
    if method not in get_args(ModulateMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(ModulateMethod))}, got {method!r}")
    if x.ndim != 3 or any(row.shape != (x.shape[0], x.shape[2]) for row in rows):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x, *rows))
        raise ValueError(f"tokens (B, L, D) and their modulation (B, D) must agree in B and D, got {shapes}")
    given = (x, *rows) if branch is None else (x, branch, *rows)
    dtypes = sorted({str(tensor.dtype) for tensor in given})
    if method == "triton" and (x.device.type != "cuda" or "torch.float64" in dtypes):
        raise ValueError(f"method 'triton' needs CUDA and at most float32, got {', '.join(dtypes)} on {x.device}")


@torch.library.custom_op("swd::layer_norm_modulate", mutates_args=())
def _modulate(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    from swd.kernels.triton_modulate import modulate

    return modulate(x, scale, shift, eps)


@_modulate.register_fake
def _(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return _like(x), x.new_empty((*x.shape[:2], 2), dtype=torch.float32)


@torch.library.custom_op("swd::layer_norm_modulate_back", mutates_args=())
def _modulate_back(of_out: Tensor, x: Tensor, scale: Tensor, stats: Tensor) -> Tensor:
    from swd.kernels.triton_modulate import modulate_back

    return modulate_back(of_out, x, scale, stats)


@_modulate_back.register_fake
def _(of_out: Tensor, x: Tensor, scale: Tensor, stats: Tensor) -> Tensor:
    return _like(x)


@torch.library.custom_op("swd::gated_residual", mutates_args=())
def _gated_residual(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    from swd.kernels.triton_modulate import gated_residual as launch

    return launch(x, y, gate)


@_gated_residual.register_fake
def _(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    return _like(x)


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _keep_tokens(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, scale, shift, _ = inputs
    ctx.save_for_backward(x, scale, output[1])
    ctx.shift_dtype = shift.dtype
    ctx.mark_non_differentiable(output[1])


@once_differentiable
def _pull_tokens(ctx: Any, of_out: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
    x, scale, stats = ctx.saved_tensors
    of_x, of_scale, of_shift = None, None, None
    if ctx.needs_input_grad[0]:
        of_x = _modulate_back(of_out, x, scale, stats)
    if ctx.needs_input_grad[1]:
        normal = (x.float() - stats[..., :1]) * stats[..., 1:]
        of_scale = (of_out.float() * normal).sum(1).to(scale.dtype)
    if ctx.needs_input_grad[2]:
        of_shift = of_out.sum(1, dtype=torch.float32).to(ctx.shift_dtype)
    return of_x, of_scale, of_shift, None


_modulate.register_autograd(_pull_tokens, setup_context=_keep_tokens)


def _keep_branch(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, y, gate = inputs
    ctx.save_for_backward(y, gate)


def _pull_branch(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    y, gate = ctx.saved_tensors
    of_y, of_gate = None, None
    if ctx.needs_input_grad[1]:
        of_y = (of_out * gate[:, None]).to(y.dtype)
    if ctx.needs_input_grad[2]:
        of_gate = (of_out.float() * y.float()).sum(1).to(gate.dtype)
    return of_out if ctx.needs_input_grad[0] else None, of_y, of_gate


_gated_residual.register_autograd(_pull_branch, setup_context=_keep_branch)
