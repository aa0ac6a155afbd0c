"""The kernels of `swd.kernels` beside plain torch and torch.compile."""

from functools import partial

from repro.gpu_parts.clock import timed
from repro.gpu_parts.task import Item, Items, Task, named, rounds, single
from repro.kinds.gpu import keys
from repro.kinds.gpu.declare import KernelCase
from repro.kinds.gpu.journal import Found
from repro.stages.kernel_runs import Run, Tokens, block_run, rbf_run, renoise_run
from repro.stages.timing import free_bytes

MATRICES = ("eager", "compile")  # who keeps whole kernel matrices


def items(task: Task) -> Items:
    """Every case by each of its providers."""
    for case in task.scope.kernels:
        for provider in case.providers:
            variant = keys.kernel(case.name, provider)
            yield Item(named(variant), partial(_measure, task, case, provider, variant))


def _measure(task: Task, case: KernelCase, provider: str, variant: str) -> list[Found]:
    run, work = _run(task, case, provider)
    found = timed(task, {"own": run})["own"]
    return [
        rounds(variant, keys.SECONDS, found.rounds),
        single(variant, keys.ONCE, found.once, "s"),
        single(variant, keys.CALLS, found.calls),
        single(variant, keys.PEAK_BYTES, found.peak_bytes, "bytes"),
        work,
    ]


def _run(task: Task, case: KernelCase, provider: str) -> tuple[Run, Found]:
    """The call, and the work that bounds it: FLOPs of products, or bytes where there are none."""
    variant, device = keys.kernel(case.name, provider), task.device.type
    if case.operator == "upscale_renoise":
        images, *sides = case.shape
        run, moved = renoise_run((sides[0], sides[1]), images, device, provider)
        return run, single(variant, keys.BYTES, moved, "bytes")
    tokens = Tokens(*case.shape, device=device, dtype=task.scope.dtype)
    if case.operator != "rbf_mmd":
        return block_run(case.operator, tokens, provider), single(variant, keys.BYTES, tokens.block_bytes, "bytes")
    if provider in MATRICES and tokens.matrix_bytes > 0.8 * free_bytes(task.device):
        raise MemoryError(f"needs about {tokens.matrix_bytes / 2**30:.0f} GiB")
    return rbf_run(tokens, provider), single(variant, keys.FLOPS, tokens.flops)
