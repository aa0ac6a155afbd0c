"""What every part is given, and what it gives: items, each measured by itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from repro.kinds.gpu.declare import GpuPage, Scope
from repro.kinds.gpu.journal import Found

T = TypeVar("T")


class OutOfTime(Exception):
    """The time of the part is over within an item, which then has to start again."""


@dataclass(frozen=True)
class Task:
    """What a part is to do.

    Attributes:
        page: the declaration.
        smoke: whether all is tiny.
        device: where.
        end: when to stop, on the clock of ``time.monotonic``.
        scratch: folder for what is thrown away.
        log: what other programs print.
    """

    page: GpuPage
    smoke: bool
    device: torch.device
    end: float
    scratch: Path
    log: Path

    @property
    def scope(self) -> Scope:
        """Sizes of everything."""
        return self.page.scope(self.smoke)

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks."""
        found: torch.dtype = getattr(torch, self.scope.dtype)
        return found

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.end - time.monotonic()


@dataclass(frozen=True)
class Item:
    """One thing to measure.

    Attributes:
        name: its variant without the part, see `repro.kinds.gpu.keys`.
        measure: does it; whatever it raises is the item's error.
    """

    name: str
    measure: Callable[[], Sequence[Found]]


Items = Iterator[Item]


@dataclass
class Lazy(Generic[T]):
    """Something heavy that several items share: made for the first that asks; an error is everybody's."""

    make: Callable[[], T]
    _made: list[T] = field(default_factory=list)
    _error: Exception | None = None

    def __call__(self) -> T:
        """It, or the error that its making raised."""
        if self._error is not None:
            raise self._error
        if not self._made:
            try:
                self._made.append(self.make())
            except Exception as error:  # raised here, and again for every item that asks
                self._error = error.with_traceback(None)  # or its frames would hold what was made so far
                raise
        return self._made[0]

    def drop(self) -> None:
        """Let go of it; the next part of the items makes room for its own."""
        self._made.clear()


def named(variant: str) -> str:
    """Name of the item that measures a variant."""
    return variant.partition(": ")[2]


def single(variant: str, metric: str, value: float, unit: str = "", note: str = "") -> Found:
    """One number."""
    return Found(variant, metric, (float(value),), unit=unit, note=note)


def rounds(variant: str, metric: str, values: Sequence[float], over: Any = "round") -> Found:
    """Seconds of every round."""
    return Found(variant, metric, tuple(values), unit="s", over=over)
