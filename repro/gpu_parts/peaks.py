"""What the device can do at most: how fast it multiplies matrices and copies memory."""

import torch

from repro.gpu_parts.task import Item, Items, Task, named, single
from repro.kinds.gpu import keys
from repro.kinds.gpu.journal import Found
from repro.stages.timing import copy_bytes, matmul_flops


def items(task: Task) -> Items:
    """A copy, and the fastest square product of every dtype."""
    yield Item(named(keys.COPY), lambda: [single(keys.COPY, keys.RATE, copy_bytes(task.device), "B/s")])
    for dtype in task.scope.peaks:

        def measure(dtype: str = dtype) -> list[Found]:
            rate = matmul_flops(task.device, getattr(torch, dtype), task.scope.peak_sides)
            return [single(keys.matmul(dtype), keys.RATE, rate, "FLOP/s")]

        yield Item(named(keys.matmul(dtype)), measure)
