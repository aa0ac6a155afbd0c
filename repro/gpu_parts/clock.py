"""Times calls that take turns: the first of each by itself, for it compiles, then as many rounds as fit."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from repro.gpu_parts.task import Task, rounds, single
from repro.kinds.gpu import keys
from repro.kinds.gpu.journal import Found
from repro.stages.timing import Clock, PeakMemory, fitting_rounds

Call = Callable[[], Any]
SMOKE_STANCE: dict[str, Any] = {"stance": "default", "force_backend": "eager"}


@dataclass(frozen=True)
class Times:
    """What a call took.

    Attributes:
        first: seconds of its first call.
        rounds: seconds of every later one that counts.
        peak_bytes: most memory of the second call beyond what was there before it.
    """

    first: float
    rounds: tuple[float, ...]
    peak_bytes: int

    def found(self, variant: str) -> list[Found]:
        """What is told of a variant."""
        return [
            rounds(variant, keys.SECONDS, self.rounds),
            single(variant, keys.FIRST, self.first, "s"),
            single(variant, keys.PEAK_BYTES, self.peak_bytes, "bytes"),
        ]


def timed(task: Task, calls: Mapping[str, Call]) -> dict[str, Times]:
    """Every call in turn, round after round.

    The first two rounds do not count: one compiles, the other warms up and says how many rounds fit.
    """
    with traced(task):
        return _timed(task, calls)


def _timed(task: Task, calls: Mapping[str, Call]) -> dict[str, Times]:
    least, most = task.scope.rounds
    first = {name: seconds(call, task.device) for name, call in calls.items()}
    memory = {name: peak_bytes(call, task.device) for name, call in calls.items()}
    once = sum(seconds(call, task.device) for call in calls.values())
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(fitting_rounds(once, task.scope.seconds, least=least, most=most)):
        for name, call in calls.items():
            taken[name].append(seconds(call, task.device))
    return {name: Times(first[name], tuple(taken[name]), memory[name]) for name in calls}


def seconds(call: Call, device: torch.device) -> float:
    """That a call takes, with all that it started on the device."""
    clock = Clock(device)
    clock.mark()
    call()
    clock.mark()
    return clock.spans()[0]


def peak_bytes(call: Call, device: torch.device) -> int:
    """Most memory in a call beyond what was there before it."""
    memory = PeakMemory(device)
    memory.restart()
    before = memory.bytes()
    call()
    return max(0, memory.bytes() - before)


def traced(task: Task) -> AbstractContextManager[Any]:
    """Around calls of compiled code: a smoke run traces it, and leaves out the minutes of a compiler for the CPU."""
    return torch.compiler.set_stance(**SMOKE_STANCE) if task.smoke else nullcontext()
