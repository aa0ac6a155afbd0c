"""Read what comes next while the caller works on what it has."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """``read(n)``, for n in rising order, with ``read(n + 1)`` under way in a thread by the time it returns.

    An error of ``read`` is raised where its result is asked for.

    Args:
        read: a function of n alone; nothing else may depend on when it is called.
        stop: one past the last n.
        active: without, every call reads when it is made.
    """

    def __init__(self, read: Callable[[int], T], stop: int, *, active: bool = True) -> None:
        self._read, self._stop, self._active = read, stop, active
        self._ahead: tuple[int, Future[T]] | None = None

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __call__(self, n: int) -> T:
        """What ``read(n)`` gives."""
        found, self._ahead = self._ahead, None
        value = found[1].result() if found is not None and found[0] == n else self._read(n)
        if self._active and n + 1 < self._stop:
            self._ahead = n + 1, self._thread.submit(self._read, n + 1)
        return value
