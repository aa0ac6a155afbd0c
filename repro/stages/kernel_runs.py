"""Calls of the kernels of `swd.kernels` that a clock can take: each operator at a size, by one of its providers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from swd.kernels import gated_residual, layer_norm_modulate, rbf_mmd, upscale_renoise

Run = Callable[[], Tensor]
CHANNELS, SIGMA = 16, 0.6  # of the latents that are renoised, and their noise level


@dataclass(frozen=True)
class Tokens:
    """Two sets of tokens, (images, count, width), of one dtype and device."""

    images: int
    count: int
    width: int
    device: str
    dtype: str

    @property
    def id(self) -> str:
        """Name of a benchmark."""
        return f"{self.images}x{self.count}x{self.width}-{self.dtype}-{self.device}"

    def draw(self) -> tuple[Tensor, Tensor]:
        """The first carries the gradient."""
        rng = torch.Generator().manual_seed(0)
        shape = (self.images, self.count, self.width)
        fake, real = (torch.randn(shape, generator=rng).to(self.device, getattr(torch, self.dtype)) for _ in range(2))
        return fake.requires_grad_(), real

    @property
    def flops(self) -> int:
        """Of RBF sums: products for three kernel matrices, and for the pull of two of them."""
        return 5 * 2 * self.images * self.count**2 * self.width

    @property
    def matrix_bytes(self) -> int:
        """Three kernel matrices in float32, each with what autograd keeps of its way there: distances and sums."""
        return 3 * 3 * 4 * self.images * self.count**2

    @property
    def block_bytes(self) -> int:
        """Read and written by a block's operator and its way back.

        Modulating: x, result; its gradient, x again, that of x. The gate: x, y, result; its gradient, which is x's too,
        and y's.
        """
        return 5 * self.images * self.count * self.width * getattr(torch, self.dtype).itemsize


def rbf_run(tokens: Tokens, provider: str) -> Run:
    """The statistic's gradient; bandwidth is the square root of the width, at which kernels are neither 0 nor 1."""
    statistic, (fake, real) = mmd(provider, tokens.width**0.5), tokens.draw()

    def run() -> Tensor:
        (gradient,) = torch.autograd.grad(statistic(fake, real).sum(), fake)
        return gradient

    return run


def mmd(provider: str, bandwidth: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The statistic by one of the providers: a method of `rbf_mmd`, "compile" or "keops"."""
    if provider == "compile":
        torch.compiler.reset()
        compiled: Callable[[Tensor, Tensor], Tensor] = torch.compile(
            lambda x, y: rbf_mmd(x, y, bandwidth, method="eager")
        )
        return compiled
    if provider == "keops":
        return lambda x, y: _keops(x.float(), y.float(), bandwidth)
    method: Any = provider
    return lambda x, y: rbf_mmd(x, y, bandwidth, method=method)


def _keops(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """Sums that PyKeOps reduces on the fly, with its own way back."""
    from pykeops.torch import LazyTensor

    def mean(a: Tensor, b: Tensor, same: bool) -> Tensor:
        square = ((LazyTensor(a[:, :, None]) - LazyTensor(b[:, None])) ** 2).sum(-1)
        total = (-square / (2 * bandwidth**2)).exp().sum(2)[..., 0].sum(1)
        n, m = a.shape[1], b.shape[1]
        return (total - n) / (n * (n - 1)) if same else total / (n * m)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def block_run(name: str, tokens: Tokens, provider: str) -> Run:
    """What a DiT block does around attention and MLP, with its way back: "eager", "compile" or "triton"."""
    operator: Callable[..., Tensor] = {"layer_norm_modulate": layer_norm_modulate, "gated_residual": gated_residual}[
        name
    ]
    x, y = tokens.draw()
    row, ones = x[:, 0].detach(), torch.ones_like(x)
    given = (x, row, row) if operator is layer_norm_modulate else (x, y.requires_grad_(), row)
    leaves = [tensor for tensor in given if tensor.requires_grad]
    forward = _maybe_compiled(operator, provider)
    return lambda: torch.autograd.grad(forward(*given), leaves, ones)[-1]


def renoise_run(sides: tuple[int, int], images: int, device: str, provider: str) -> tuple[Run, int]:
    """From a latent side to the next, and bytes that are read and written at least."""
    rng = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(images, CHANNELS, side, side, generator=rng).to(device) for side in sides)
    sigma = torch.full((images,), SIGMA, device=device)
    return partial(_maybe_compiled(upscale_renoise, provider), x0, noise, sigma), 4 * (x0.numel() + 2 * noise.numel())


def _maybe_compiled(operator: Callable[..., Tensor], provider: str) -> Callable[..., Tensor]:
    forward = partial(operator, method="triton" if provider == "triton" else "eager")
    if provider != "compile":
        return forward
    torch.compiler.reset()
    compiled: Callable[..., Tensor] = torch.compile(forward)
    return compiled
