"""Times calls that take turns: what each does once by itself, then as many rounds as fit."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import ceil
from statistics import median
from typing import Any, TypeVar

import torch

from repro.gpu_parts.task import Task, rounds, single
from repro.kinds.gpu import keys
from repro.kinds.gpu.journal import Found
from repro.stages.timing import Clock, PeakMemory, fitting_rounds

T = TypeVar("T")
Call = Callable[[], Any]
SPAN_SECONDS = 0.01  # between two marks at least: from an idle GPU, launching a single short call is most of it
MOST_CALLS = 1000  # between two marks
SMOKE_STANCE: dict[str, Any] = {"stance": "default", "force_backend": "eager"}


@dataclass(frozen=True)
class Times:
    """What a call took.

    Attributes:
        once: seconds that its first two calls take beyond later ones: compiling, and recording a CUDA graph.
        rounds: seconds of a later call, each the mean over those between two marks.
        peak_bytes: most memory of the second call beyond what was there before it, a graph that it records among it.
        calls: between two marks.
    """

    once: float
    rounds: tuple[float, ...]
    peak_bytes: int
    calls: int

    def found(self, variant: str) -> list[Found]:
        """What is told of a variant."""
        return [
            rounds(variant, keys.SECONDS, self.rounds),
            single(variant, keys.ONCE, self.once, "s"),
            single(variant, keys.CALLS, self.calls),
            single(variant, keys.PEAK_BYTES, self.peak_bytes, "bytes"),
        ]


def timed(task: Task, calls: Mapping[str, Call]) -> dict[str, Times]:
    """Every call in turn, round after round.

    The first three calls of each are no rounds: one compiles; with the second, which may record a CUDA graph, goes the
    gauge of memory; the third warms up and says how many calls make a span, and how many rounds of those fit.
    """
    with traced(task):
        return _timed(task, calls)


def _timed(task: Task, calls: Mapping[str, Call]) -> dict[str, Times]:
    least, most = task.scope.rounds
    first = {name: seconds(call, task.device) for name, call in calls.items()}
    second = {name: gauged(partial(seconds, call, task.device), task.device) for name, call in calls.items()}
    third = {name: seconds(call, task.device) for name, call in calls.items()}
    many = {name: calls_between_marks(single_call) for name, single_call in third.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    whole = sum(many[name] * single_call for name, single_call in third.items())
    for _ in range(fitting_rounds(whole, task.scope.seconds, least=least, most=most)):
        for name, call in calls.items():
            taken[name].append(seconds(call, task.device, many[name]))
    return {
        name: Times(done_once(first[name], second[name][0], taken[name]), tuple(taken[name]), second[name][1], count)
        for name, count in many.items()
    }


def calls_between_marks(seconds_of_one: float) -> int:
    """So many that they last ``SPAN_SECONDS``.

    Args:
        seconds_of_one: of a single call.
    """
    return min(MOST_CALLS, max(1, ceil(SPAN_SECONDS / max(seconds_of_one, 1e-9))))


def done_once(first: float, second: float, later: Sequence[float]) -> float:
    """Seconds of the first two calls beyond two later ones; noise can bring it below 0."""
    return first + second - 2 * median(later)


def seconds(call: Call, device: torch.device, calls: int = 1) -> float:
    """Of a call, with all that it starts on the device; the mean over several between two marks."""
    clock = Clock(device)
    clock.mark()
    for _ in range(calls):
        call()
    clock.mark()
    return clock.spans()[0] / calls


def gauged(call: Callable[[], T], device: torch.device) -> tuple[T, int]:
    """What a call gives, and the most memory that it takes beyond what was there before."""
    memory = PeakMemory(device)
    memory.restart()
    before = memory.bytes()
    result = call()
    return result, max(0, memory.bytes() - before)


def traced(task: Task) -> AbstractContextManager[Any]:
    """Around calls of compiled code: a smoke run traces it, and leaves out the minutes of a compiler for the CPU."""
    return torch.compiler.set_stance(**SMOKE_STANCE) if task.smoke else nullcontext()
