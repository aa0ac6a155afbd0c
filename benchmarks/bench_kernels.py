"""The kernels of `swd.kernels` beside plain torch, at sizes of SD3.5 and of mini.

RBF sums, with their gradient, also by torch.compile on CUDA, and by PyKeOps where it is installed.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from sampling_world import roof
from torch import Tensor

from repro.stages.timing import PeakMemory, free_bytes
from swd.kernels import gated_residual, layer_norm_modulate, rbf_mmd, upscale_renoise

Run = Callable[[], Tensor]
SECONDS = 1.0  # runs that cannot take less are timed once


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
        return f"{self.images}x{self.count}x{self.width}-{self.dtype}-{self.device}"

    def draw(self) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(0)
        shape = (self.images, self.count, self.width)
        fake, real = (torch.randn(shape, generator=rng).to(self.device, getattr(torch, self.dtype)) for _ in range(2))
        return fake.requires_grad_(), real

    @property
    def flops(self) -> int:
        """Products for three kernel matrices, and for the pull of two of them."""
        return 5 * 2 * self.images * self.count**2 * self.width

    @property
    def matrix_bytes(self) -> int:
        """Three kernel matrices in float32, each with what autograd keeps of its way there: distances and sums."""
        return 3 * 3 * 4 * self.images * self.count**2


MINI = Tokens(16, 256, 128, "cpu", "float32")
MEDIUM = Tokens(1, 1600, 1536, "cpu", "float32")
POOLED = Tokens(1, 32768, 96, "cpu", "float32")
TOKENS = (
    MINI,
    MEDIUM,
    POOLED,
    Tokens(8, 4096, 1536, "cuda", "bfloat16"),
    Tokens(8, 4096, 2432, "cuda", "bfloat16"),
    Tokens(1, 65536, 1536, "cuda", "bfloat16"),
)
BLOCKS = (
    Tokens(2, 1600, 1536, "cpu", "float32"),
    Tokens(8, 4429, 1536, "cuda", "bfloat16"),  # with the text, as attention sees them
    Tokens(8, 4429, 2432, "cuda", "bfloat16"),
)
PROVIDERS = ("eager", "chunked", "compile", "triton", "keops")


def skip_unless(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, torch sees none")


def mmd(provider: str, bandwidth: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The statistic by one of the providers."""
    if provider == "compile":
        torch._dynamo.reset()
        compiled: Callable[[Tensor, Tensor], Tensor] = torch.compile(
            lambda x, y: rbf_mmd(x, y, bandwidth, method="eager")
        )
        return compiled
    if provider == "keops":
        return lambda x, y: _keops(x.float(), y.float(), bandwidth)
    return lambda x, y: rbf_mmd(x, y, bandwidth, method=provider)


def _keops(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """Sums that PyKeOps reduces on the fly, with its own way back."""
    from pykeops.torch import LazyTensor

    def mean(a: Tensor, b: Tensor, same: bool) -> Tensor:
        square = ((LazyTensor(a[:, :, None]) - LazyTensor(b[:, None])) ** 2).sum(-1)
        total = (-square / (2 * bandwidth**2)).exp().sum(2)[..., 0].sum(1)
        n, m = a.shape[1], b.shape[1]
        return (total - n) / (n * (n - 1)) if same else total / (n * m)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("tokens", TOKENS, ids=lambda tokens: tokens.id)
def bench_rbf(benchmark: BenchmarkFixture, tokens: Tokens, provider: str) -> None:
    skip_unless(tokens.device)
    if provider == "triton" and tokens.device == "cpu":
        pytest.skip("Triton's kernels need a CUDA device")
    if provider == "keops" and importlib.util.find_spec("pykeops") is None:
        pytest.skip("PyKeOps is not installed")
    if provider == "compile" and tokens.device == "cpu":
        pytest.skip("compiled on CUDA only: on a CPU compiling takes longer than all the rest")
    if provider in ("eager", "compile") and tokens.matrix_bytes > 0.8 * free_bytes(torch.device(tokens.device)):
        pytest.skip(f"needs about {tokens.matrix_bytes / 2**30:.0f} GiB")
    statistic, (fake, real) = mmd(provider, tokens.width**0.5), tokens.draw()

    def run() -> Tensor:
        (gradient,) = torch.autograd.grad(statistic(fake, real).sum(), fake)
        return gradient

    gradient = measure(benchmark, run, tokens.device, least=tokens.flops / roof(tokens.device, tokens.dtype)[0])
    assert gradient.isfinite().all()


@pytest.mark.parametrize("provider", ["eager", "triton"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def bench_upscale_renoise(benchmark: BenchmarkFixture, device: str, provider: str) -> None:
    skip_unless(device)
    if provider == "triton" and device == "cpu":
        pytest.skip("Triton's kernels need a CUDA device")
    rng = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(8, 16, side, side, generator=rng).to(device) for side in (96, 128))
    sigma = torch.full((8,), 0.6, device=device)
    moved = 4 * (x0.numel() + 2 * noise.numel())
    run = partial(upscale_renoise, x0, noise, sigma, method=provider)
    measure(benchmark, run, device, least=moved / roof(device, "float32")[1])


@pytest.mark.parametrize("provider", ["eager", "compile", "triton"])
@pytest.mark.parametrize("tokens", BLOCKS, ids=lambda tokens: tokens.id)
@pytest.mark.parametrize("operator", [layer_norm_modulate, gated_residual], ids=lambda operator: operator.__name__)
def bench_block(benchmark: BenchmarkFixture, operator: Callable[..., Tensor], tokens: Tokens, provider: str) -> None:
    skip_unless(tokens.device)
    if provider != "eager" and tokens.device == "cpu":
        pytest.skip(f"{provider} on CUDA only")
    x, y = tokens.draw()
    row, ones = x[:, 0].detach(), torch.ones_like(x)
    given = (x, row, row) if operator is layer_norm_modulate else (x, y.requires_grad_(), row)
    leaves = [tensor for tensor in given if tensor.requires_grad]
    forward = partial(operator, method="triton" if provider == "triton" else "eager")
    if provider == "compile":
        torch._dynamo.reset()
        forward = torch.compile(forward)

    def run() -> Tensor:
        return torch.autograd.grad(forward(*given), leaves, ones)[-1]

    # modulate: x, result; its gradient, x again, that of x. Gate: x, y, result; its gradient, which is x's too, and y's
    moved = 5 * x.numel() * x.element_size()
    gradient = measure(benchmark, run, tokens.device, least=moved / roof(tokens.device, tokens.dtype)[1])
    assert gradient.isfinite().all()


def measure(benchmark: BenchmarkFixture, run: Run, device: str, *, least: float) -> Tensor:
    """Time a run, with its peak of memory beside it; ``least`` is what the roofline allows, in seconds."""

    def whole() -> Tensor:
        result = run()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    slow, memory = least > SECONDS, PeakMemory(torch.device(device))
    memory.restart()
    before = memory.bytes()
    result: Tensor = benchmark.pedantic(whole, rounds=1) if slow else whole()
    benchmark.extra_info["peak_bytes"] = memory.bytes() - before
    if not slow:
        benchmark.pedantic(whole, rounds=5)
    benchmark.extra_info["share_of_roofline"] = least / benchmark.stats.stats.median
    return result
