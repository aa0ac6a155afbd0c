"""Ending a run from outside: a signal asks, and the run answers when the iteration that it is at is done."""

import logging
import signal
from types import FrameType, TracebackType
from typing import Any, Self

_LOG = logging.getLogger(__name__)


class StopSignals:
    """Whether a SIGTERM or SIGINT has come, while this is entered; to be entered in the main thread.

    A second SIGINT does not wait: it raises ``KeyboardInterrupt`` where the program is.

    Attributes:
        received: the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._interrupted = False
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received is not None

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        found = signal.Signals(number)
        if found is signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted |= found is signal.SIGINT
        self.received = self.received or found
        again = "; Ctrl-C again stops at once" if self._interrupted else ""
        _LOG.warning(f"{found.name}: saving a state after this iteration, then stopping{again}")
