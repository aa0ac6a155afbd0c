"""Squared MMD with an RBF kernel between sets of tokens, with its gradient, and without the matrices of distances.

The eager form keeps three L x L matrices and their temporaries for the way back: 155 GB for 65,536 tokens. The others
go through the kernel matrix in strips of rows; each strip gives its part of the value and the whole gradient of its
rows, and is dropped. The gradient is ready with the value, so nothing of size L x L waits for the way back.

With z = -|a - b|^2 / (2 h^2) and k = exp(z), the unbiased estimate is

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j).

Strips hold k - c in place of k, where c is the kernel at the mean squared distance of the two sets: one number for each
image. In high dimensions distances hardly vary, so that little is left to be rounded, whether the kernel is wide
(k near 1) or narrow (k near 0). What c stands for is added in closed form: to the value three numbers, to the gradient
the pull of the two means. 1 - c and k - 1 come from expm1, which keeps the digits that the ones of a wide kernel hide.
"""

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from swd.tensors import check_floating
from swd.values import one_of
from swd.values import real as real_number

Method = Literal["auto", "eager", "chunked", "triton"]
EAGER_BYTES = 2**27  # of one kernel matrix; autograd keeps several. Above, auto goes in strips everywhere
STRIP_BYTES = 2**25  # what a CPU's caches hold; a GPU takes more rows at a time
CUDA_STRIPS = 8
HOPPER = 9  # compute capability of the H100


def rbf_mmd(fake: Tensor, real: Tensor, bandwidth: float, *, method: Method = "auto") -> Tensor:
    """Unbiased squared MMD, one value per set of the batch.

    Args:
        fake: (B, N, D), N >= 2; carries the gradient. First derivatives only, unless ``method`` is "eager".
        real: (B, M, D), M >= 2; taken as a constant.
        bandwidth: h > 0, length scale of the kernel.
        method: "eager", plain torch with matrices N x M; "chunked", torch in strips, memory O((N + M) D); "triton", the
            same strips by a kernel of one pass, on CUDA. "auto" is chunked on a CPU, where it is faster at every size
            measured, and elsewhere eager while the matrices are small. Above that it is triton for half precision on
            Hopper, where it was measured (H100, bfloat16, 8 x 4,096 tokens of width 1,536: 8.8 ms, strips 53, eager
            64), and chunked for other dtypes and cards.

    Returns:
        (B,), float32 or wider.

    Raises:
        TypeError: no floating-point tensors, or no number.
        ValueError: an unknown method, shapes that do not match, fewer than two tokens, a bandwidth that is not
            positive; "triton" elsewhere than on CUDA, in float64 or for two dtypes.
    """
    bandwidth = _checked(fake, real, bandwidth, method)
    if torch.float64 in (fake.dtype, real.dtype):
        fake, real = fake.double(), real.double()  # products of tensors take two of one width
    if method == "auto":
        matrix_bytes = 4 * len(fake) * max(fake.shape[1], real.shape[1]) ** 2
        in_strips = fake.device.type == "cpu" or matrix_bytes > EAGER_BYTES
        method = _strips(fake, real) if in_strips else "eager"
    with _exact(fake.device.type):
        if method == "eager":
            return _eager(fake, real.detach(), bandwidth)
        wanted = fake.requires_grad and torch.is_grad_enabled()
        value: Tensor = _rbf_mmd(fake, real.detach(), bandwidth, wanted, method == "triton")[0]
        return value


def _checked(fake: Tensor, real: Tensor, bandwidth: float, method: Method) -> float:
    """The bandwidth, once all arguments are known to be what they have to be."""
    one_of("method", method, get_args(Method))
    bandwidth = real_number("bandwidth", bandwidth, above=0)
    check_floating(fake=fake, real=real)
    if fake.ndim != 3 or real.ndim != 3 or len(fake) != len(real) or fake.shape[2] != real.shape[2]:
        raise ValueError(f"tokens must be (B, N, D) of one B and D, got {tuple(fake.shape)} and {tuple(real.shape)}")
    if fake.shape[1] < 2 or real.shape[1] < 2:
        raise ValueError(f"unbiased MMD needs at least 2 tokens a set, got {fake.shape[1]} and {real.shape[1]}")
    kinds = dict.fromkeys((tokens.dtype, tokens.device) for tokens in (fake, real))
    if method == "triton" and (len(kinds) > 1 or fake.device.type != "cuda" or fake.dtype == torch.float64):
        given = " and ".join(f"{dtype} on {device}" for dtype, device in kinds)
        raise ValueError(f"method 'triton' needs CUDA and one dtype of at most float32, got {given}")
    return bandwidth


def _strips(fake: Tensor, real: Tensor) -> Method:
    """Whose strips: Triton's where they were measured to win, else torch's."""
    half = fake.dtype == real.dtype and fake.dtype in (torch.bfloat16, torch.float16)
    measured = half and fake.device == real.device and _is_measured(fake.device.type, fake.device.index)
    return "triton" if measured else "chunked"


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # nothing of a graph follows from the question
def _is_measured(device: str, index: int | None) -> bool:
    """Whether the device is of the family that Triton's kernel was measured on, with a Triton to compile it."""
    if device != "cuda" or torch.version.hip is not None:  # AMD counts its own families, from 9 too
        return False
    return torch.cuda.get_device_capability(index)[0] == HOPPER and importlib.util.find_spec("triton") is not None


def _exact(device: str) -> AbstractContextManager[Any]:
    """Without autocast, on devices that have it; meta tensors, on which work is counted, do not."""
    return torch.autocast(device, enabled=False) if _has_autocast(device) else nullcontext()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch before 2.12 cannot trace the question
def _has_autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device)


def _eager(fake: Tensor, real: Tensor, bandwidth: float) -> Tensor:
    centre, factor = wide(real).mean(1, keepdim=True), -1 / (2 * bandwidth**2)
    x, y = wide(fake) - centre, wide(real) - centre  # distances do not move with the origin, rounding does

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        square = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None, :] - 2 * a @ b.mT
        return torch.expm1(factor * square)

    def within(a: Tensor) -> Tensor:
        count, values = a.shape[1], kernel(a, a)
        return (values.sum((1, 2)) - values.diagonal(dim1=1, dim2=2).sum(1)) / (count * (count - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean((1, 2))


def wide(tokens: Tensor) -> Tensor:
    """In float32, or wider where they are."""
    return tokens.to(torch.promote_types(tokens.dtype, torch.float32))


@torch.library.custom_op("swd::rbf_mmd", mutates_args=())
def _rbf_mmd(fake: Tensor, real: Tensor, bandwidth: float, with_gradient: bool, triton: bool) -> tuple[Tensor, Tensor]:
    """Value (B,), and what pulls at the tokens of ``fake`` (B, N, D), empty unless wanted.

    The gradient is 2 / (N h^2) times that: so small for wide kernels that float16 would lose it here, before the scale
    of the loss comes.
    """
    centre, factor = _wide_mean(real), -1 / (2 * bandwidth**2)
    x, y = (_centred(tokens, centre, keep_dtype=triton) for tokens in (fake, real))
    strip = _triton_strip if triton else _torch_strip
    (images, n, width), m = x.shape, y.shape[1]
    rows = _strip_rows(images, max(n, m), width, x)
    own, cross, theirs = (centre.new_zeros(images) for _ in range(3))
    pulls = torch.empty_like(fake) if with_gradient else fake.new_empty(0)
    (mean_x, square_x), (mean_y, square_y) = ((_wide_mean(tokens), _squares(tokens)) for tokens in (x, y))
    pairs = ((mean_x, square_x, mean_x, square_x), (mean_x, square_x, mean_y, square_y), (mean_y, square_y) * 2)
    lift_own, lift_cross, lift_theirs = (_lift(*pair, factor) for pair in pairs)
    for start in range(0, n, rows):
        part, square = x[:, start : start + rows], square_x[:, start : start + rows]
        values, sums = strip(part, x, square, square_x, factor, lift_own, diagonal=start, store=with_gradient)
        own += sums.sum(1)
        if with_gradient:
            pull = _pull(values, part, x, mean_x, lift_own) / (n - 1)
        values, sums = strip(part, y, square, square_y, factor, lift_cross, store=with_gradient)
        cross += sums.sum(1)
        if with_gradient:
            pull -= _pull(values, part, y, mean_y, lift_cross) / m
            pulls[:, start : start + rows] = pull
    for start in range(0, m, rows):
        part, square = y[:, start : start + rows], square_y[:, start : start + rows]
        theirs += strip(part, y, square, square_y, factor, lift_theirs, diagonal=start, store=False)[1].sum(1)
    constants = lift_own + lift_theirs - 2 * lift_cross
    return own / (n * (n - 1)) + theirs / (m * (m - 1)) - 2 * cross / (n * m) - constants, pulls


@_rbf_mmd.register_fake
def _(fake: Tensor, real: Tensor, bandwidth: float, with_gradient: bool, triton: bool) -> tuple[Tensor, Tensor]:
    value = fake.new_empty(len(fake), dtype=torch.promote_types(fake.dtype, torch.float32))
    return value, torch.empty_like(fake) if with_gradient else fake.new_empty(0)


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    fake, _, bandwidth, _, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])
    ctx.factor = 2 / (fake.shape[1] * bandwidth**2)


def _scale_gradient(
    ctx: Any, of_value: Tensor | None, of_pulls: Tensor | None
) -> tuple[Tensor | None, None, None, None, None]:
    if of_pulls is not None:
        raise RuntimeError("rbf_mmd in strips has first derivatives only: use method='eager' for second ones")
    (pulls,) = ctx.saved_tensors
    scaled = None if of_value is None else ((ctx.factor * of_value)[:, None, None] * pulls).to(pulls.dtype)
    return scaled, None, None, None, None


_rbf_mmd.register_autograd(_scale_gradient, setup_context=_keep_gradient)


def _wide_mean(tokens: Tensor) -> Tensor:
    """Mean token, (B, 1, D), accumulated in float32 or wider."""
    return tokens.mean(1, keepdim=True, dtype=torch.promote_types(tokens.dtype, torch.float32))


def _centred(tokens: Tensor, centre: Tensor, *, keep_dtype: bool) -> Tensor:
    """Tokens with the mean of the real ones as their origin, wide unless ``keep_dtype``; no wide copy then.

    The origin may be any point. One that is rounded as the tokens are is on their grid, and so most of the differences
    are too: they are exact.
    """
    if not keep_dtype:
        return tokens - centre
    centre = centre.to(tokens.dtype).to(centre.dtype)
    result = torch.empty_like(tokens, memory_format=torch.contiguous_format)
    for rows, part in zip(result.split(4096, dim=1), tokens.split(4096, dim=1), strict=True):
        rows.copy_(part - centre)
    return result


def _lift(mean_x: Tensor, square_x: Tensor, mean_y: Tensor, square_y: Tensor, factor: float) -> Tensor:
    """1 - c of every image, (B,), from mean tokens (B, 1, D) and squared norms (B, L)."""
    square = square_x.mean(1) + square_y.mean(1) - 2 * (mean_x * mean_y).sum((1, 2))
    return -torch.expm1(factor * square)


def _squares(tokens: Tensor) -> Tensor:
    """Squared norms, (B, L), accumulated in float32 or wider."""
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    squares: Tensor = torch.linalg.vector_norm(tokens, dim=-1, dtype=dtype).square()
    return squares


def _strip_rows(images: int, columns: int, width: int, like: Tensor) -> int:
    """Rows of a strip: within its share of memory, and never more than the tokens themselves take."""
    share = STRIP_BYTES * (CUDA_STRIPS if like.is_cuda else 1)
    return max(1, min(share // (images * columns * like.element_size()), max(width, 128)))


def _torch_strip(
    x: Tensor,
    y: Tensor,
    square_x: Tensor,
    square_y: Tensor,
    factor: float,
    lift: Tensor,
    *,
    diagonal: int | None = None,
    store: bool = True,
) -> tuple[Tensor, Tensor]:
    """As `swd.kernels.triton_rbf.rbf_strip`, for float32 and float64."""
    values = torch.baddbmm(square_y[:, None, :], x, y.mT, alpha=-2)
    values.add_(square_x[:, :, None]).mul_(factor).expm1_().add_(lift[:, None, None])
    if diagonal is not None:
        values.diagonal(offset=diagonal, dim1=1, dim2=2).zero_()
    return values, values.sum(-1)


def _triton_strip(*args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    from swd.kernels.triton_rbf import rbf_strip

    return rbf_strip(*args, **options)


def _pull(values: Tensor, x: Tensor, y: Tensor, mean_y: Tensor, lift: Tensor) -> Tensor:
    """Sum over j of k_ij (y_j - x_i) from a strip of k - c, wide: that of the strip, and that of c.

    Row sums are those of the values as they are rounded, so that a token is pulled by differences alone.
    """
    if values.element_size() == 2 and values.is_cuda:
        drawn = torch.bmm(values, y, out_dtype=torch.float32)
    else:
        drawn = wide(values) @ wide(y)
    drawn -= values.sum(-1, dtype=drawn.dtype)[:, :, None] * x
    return drawn + (1 - lift)[:, None, None] * y.shape[1] * (mean_y - x)
