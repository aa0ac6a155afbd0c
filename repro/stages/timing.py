"""Clocks and gauges: marks in time, memory at its peak, and how fast the device multiplies matrices."""

import ctypes
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from repro.harness.provenance import peak_memory_bytes

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
GIB = 2**30
PEAK_SIDES = (1024, 2048, 4096, 8192)
PEAK_SECONDS = 0.5  # products that take longer are not repeated at twice the side


class Clock:
    """Marks in the stream of work of a device; asking for the spans between them waits for it, marking does not."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[float | torch.cuda.Event] = []

    def mark(self) -> None:
        """Here."""
        if self.device.type != "cuda":
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        self._marks.append(event)

    def spans(self) -> list[float]:
        """Seconds from each mark to the next."""
        if self.device.type != "cuda":
            return [later - earlier for earlier, later in pairwise(self._marks)]
        torch.cuda.synchronize(self.device)
        return [earlier.elapsed_time(later) / 1000 for earlier, later in pairwise(self._marks)]


class PeakMemory:
    """Most memory in use since ``restart``: what torch allocated on CUDA, the resident size of the process on a CPU.

    On a CPU it holds whatever else the process has loaded, so that a difference says more than a value.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def restart(self) -> None:
        """Forget the peak so far, where the system lets us (CUDA, Linux)."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif _CLEAR_REFS.exists():
            _give_back()
            _CLEAR_REFS.write_text("5")  # proc(5): resets the peak resident size

    def bytes(self) -> int:
        """The peak; of the whole life of the process where it cannot be reset."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
        found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        return 1024 * found[0] if found else peak_memory_bytes()


def _give_back() -> None:
    """What glibc keeps for later goes back to the system; other C libraries have no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def free_bytes(device: torch.device) -> int:
    """Memory that a program may still take."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    import psutil

    return psutil.virtual_memory().available


def copy_bytes(device: torch.device) -> float:
    """Bytes per second of the device's memory, read and written: the median of five copies of 256 MiB."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    clock = Clock(device)
    clock.mark()
    for _ in range(5):
        target.copy_(source)
        clock.mark()
    return 2 * source.numel() * source.element_size() / median(clock.spans())


def matmul_flops(device: torch.device, dtype: torch.dtype, sides: Sequence[int] = PEAK_SIDES) -> float:
    """FLOP/s of the fastest square matrix product: the median of five, over growing sides."""
    best = 0.0
    for side in sides:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = a @ b
        clock = Clock(device)
        clock.mark()
        for _ in range(5):
            torch.matmul(a, b, out=out)
            clock.mark()
        seconds = median(clock.spans())
        best = max(best, 2 * side**3 / seconds)
        if seconds > PEAK_SECONDS:
            break
    return best


def fitting_rounds(seconds: float, budget: float, *, least: int, most: int) -> int:
    """How many rounds fit into a budget of time, from what one has taken.

    Args:
        seconds: of a round.
        budget: seconds of all of them.
        least: rounds, even where they do not fit.
        most: rounds, even where more would.

    Raises:
        ValueError: no round, or fewer at most than at least.
    """
    if not 1 <= least <= most:
        raise ValueError(f"rounds are at least 1, and at most no fewer, got {least} to {most}")
    return most if seconds * most <= budget else max(least, int(budget / seconds))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the system had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # the last is what cuDNN says when no convolution fits
    signs = ("can't allocate memory", "STATUS_ALLOC_FAILED", "out of memory", "unable to find an engine to execute")
    return any(sign in str(error) for sign in signs)


def device_name(device: torch.device) -> str:
    """What a time was measured on: the card, or the processor and the threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    import platform

    return platform.processor() or f"{platform.machine()} ({sys.platform})"
