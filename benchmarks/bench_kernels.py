"""The kernels of `swd.kernels` beside plain torch, at sizes of SD3.5 and of mini.

RBF sums, with their gradient, also by torch.compile on CUDA, and by PyKeOps where it is installed.
"""

import importlib.util
from time import perf_counter

import budget
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from sampling_world import roof
from torch import Tensor

from repro.stages.kernel_runs import Run, Tokens, block_run, rbf_run, renoise_run
from repro.stages.timing import PeakMemory, fitting_rounds, free_bytes

SECONDS = 1.0  # runs that cannot take less are timed once


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
    run = rbf_run(tokens, provider)
    gradient = measure(benchmark, run, tokens.device, least=tokens.flops / roof(tokens.device, tokens.dtype)[0])
    assert gradient.isfinite().all()


@pytest.mark.parametrize("provider", ["eager", "triton"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def bench_upscale_renoise(benchmark: BenchmarkFixture, device: str, provider: str) -> None:
    skip_unless(device)
    if provider == "triton" and device == "cpu":
        pytest.skip("Triton's kernels need a CUDA device")
    run, moved = renoise_run((96, 128), 8, device, provider)
    measure(benchmark, run, device, least=moved / roof(device, "float32")[1])


@pytest.mark.parametrize("provider", ["eager", "compile", "triton"])
@pytest.mark.parametrize("tokens", BLOCKS, ids=lambda tokens: tokens.id)
@pytest.mark.parametrize("operator", ["layer_norm_modulate", "gated_residual"])
def bench_block(benchmark: BenchmarkFixture, operator: str, tokens: Tokens, provider: str) -> None:
    skip_unless(tokens.device)
    if provider != "eager" and tokens.device == "cpu":
        pytest.skip(f"{provider} on CUDA only")
    run = block_run(operator, tokens, provider)
    gradient = measure(benchmark, run, tokens.device, least=tokens.block_bytes / roof(tokens.device, tokens.dtype)[1])
    assert gradient.isfinite().all()


def measure(benchmark: BenchmarkFixture, run: Run, device: str, *, least: float) -> Tensor:
    """Time a run, with its peak of memory beside it; ``least`` is what the roofline allows, in seconds."""

    def whole() -> Tensor:
        result = run()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    memory = PeakMemory(torch.device(device))
    memory.restart()
    before = memory.bytes()
    slow = least > SECONDS
    started = perf_counter()
    result: Tensor = benchmark.pedantic(whole, rounds=1) if slow else whole()
    once = perf_counter() - started
    benchmark.extra_info["peak_bytes"] = memory.bytes() - before
    if not slow:
        benchmark.pedantic(whole, rounds=fitting_rounds(once, budget.KERNEL, least=2, most=5))
    benchmark.extra_info["share_of_roofline"] = least / benchmark.stats.stats.median
    return result
