"""Triton: LayerNorm with modulation and its way back, and the gated residual, each in one pass over the tokens."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _load(start, columns, inside, column):
    """Values of one token or row of modulation in float32; 0 past its end."""
    return tl.load(start + columns * column, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _modulate(
    x_ptr,
    scale_ptr,
    shift_ptr,
    out_ptr,
    stats_ptr,
    tokens,
    width,
    eps,
    x_image,
    x_token,
    x_column,
    scale_image,
    scale_column,
    shift_image,
    shift_column,
    BLOCK: tl.constexpr,
):
    """One token: normalised, times 1 + scale, plus shift; its mean and 1 / deviation are kept."""
    row, columns = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    image, token, inside = row // tokens, row % tokens, columns < width
    x = _load(x_ptr + image * x_image + token * x_token, columns, inside, x_column)
    scale = _load(scale_ptr + image * scale_image, columns, inside, scale_column)
    shift = _load(shift_ptr + image * shift_image, columns, inside, shift_column)
    mean = tl.sum(x) / width
    centred = tl.where(inside, x - mean, 0.0)
    inverse = 1 / tl.sqrt(tl.sum(centred * centred) / width + eps)
    tl.store(out_ptr + row * width + columns, centred * inverse * (1 + scale) + shift, mask=inside)
    tl.store(stats_ptr + 2 * row, mean)
    tl.store(stats_ptr + 2 * row + 1, inverse)


@triton.jit
def _modulate_back(
    of_out_ptr,
    x_ptr,
    scale_ptr,
    stats_ptr,
    out_ptr,
    tokens,
    width,
    of_out_image,
    of_out_token,
    of_out_column,
    x_image,
    x_token,
    x_column,
    scale_image,
    scale_column,
    BLOCK: tl.constexpr,
):
    """Gradient of one token: what comes back, less its mean and its part along the normalised token."""
    row, columns = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    image, token, inside = row // tokens, row % tokens, columns < width
    of_out = _load(of_out_ptr + image * of_out_image + token * of_out_token, columns, inside, of_out_column)
    x = _load(x_ptr + image * x_image + token * x_token, columns, inside, x_column)
    scale = _load(scale_ptr + image * scale_image, columns, inside, scale_column)
    mean, inverse = tl.load(stats_ptr + 2 * row), tl.load(stats_ptr + 2 * row + 1)
    normal, pulled = tl.where(inside, (x - mean) * inverse, 0.0), of_out * (1 + scale)
    along = tl.sum(pulled * normal) / width
    gradient = inverse * (pulled - tl.sum(pulled) / width - normal * along)
    tl.store(out_ptr + row * width + columns, gradient, mask=inside)


@triton.jit
def _gate(
    x_ptr,
    y_ptr,
    gate_ptr,
    out_ptr,
    tokens,
    width,
    x_image,
    x_token,
    x_column,
    y_image,
    y_token,
    y_column,
    gate_image,
    gate_column,
    BLOCK: tl.constexpr,
):
    """One token: x + gate y."""
    row, columns = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    image, token, inside = row // tokens, row % tokens, columns < width
    x = _load(x_ptr + image * x_image + token * x_token, columns, inside, x_column)
    y = _load(y_ptr + image * y_image + token * y_token, columns, inside, y_column)
    gate = _load(gate_ptr + image * gate_image, columns, inside, gate_column)
    tl.store(out_ptr + row * width + columns, x + gate * y, mask=inside)


def launch_options(width: int) -> dict[str, int]:
    """A program holds a whole token."""
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": 4 if block <= 2048 else 8}


def modulate(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """LayerNorm(x) (1 + scale) + shift.

    Args:
        x: (B, L, D), of any strides.
        scale: (B, D), of any strides.
        shift: (B, D), of any strides.
        eps: added to the variance.

    Returns:
        The result (B, L, D) in the dtype of ``x``, and mean and 1 / deviation of every token, (B, L, 2) float32.
    """
    (images, tokens, width), out = x.shape, torch.empty_like(x, memory_format=torch.contiguous_format)
    stats = x.new_empty((images, tokens, 2), dtype=torch.float32)
    strides = *x.stride(), *scale.stride(), *shift.stride()
    with torch.cuda.device_of(x):
        _modulate[(images * tokens,)](
            x, scale, shift, out, stats, tokens, width, eps, *strides, **launch_options(width)
        )
    return out, stats


def modulate_back(of_out: Tensor, x: Tensor, scale: Tensor, stats: Tensor) -> Tensor:
    """Gradient of ``modulate`` with respect to x, (B, L, D) in its dtype, from that of its result."""
    (images, tokens, width), out = x.shape, torch.empty_like(x, memory_format=torch.contiguous_format)
    strides = *of_out.stride(), *x.stride(), *scale.stride()
    with torch.cuda.device_of(x):
        _modulate_back[(images * tokens,)](
            of_out, x, scale, stats, out, tokens, width, *strides, **launch_options(width)
        )
    return out


def gated_residual(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    """Sum x + gate y, of (B, L, D) and (B, D) of any strides, in the dtype of ``x``."""
    (images, tokens, width), out = x.shape, torch.empty_like(x, memory_format=torch.contiguous_format)
    strides = *x.stride(), *y.stride(), *gate.stride()
    with torch.cuda.device_of(x):
        _gate[(images * tokens,)](x, y, gate, out, tokens, width, *strides, **launch_options(width))
    return out
