"""Trainings of the suite end as those of `python -m swd.train` do: asked by a signal, with a state saved."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from swd.errors import TrainingStopped
from swd.training.stopping import StopSignals

STATE_MINUTES = 5.0  # between states of a training: what a kill may cost


@contextmanager
def stoppable() -> Iterator[StopSignals | None]:
    """Give what a training is to ask whether to stop; the command ends when it did, to be gone on with.

    Raises:
        SystemExit: SIGTERM came and a state is saved; the status is 0.
        KeyboardInterrupt: the same of SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone hears signals
        yield None
        return
    with StopSignals() as signals:
        try:
            yield signals
        except TrainingStopped as stopped:
            print(stopped, file=sys.stderr)
            if signals.received is signal.SIGINT:
                raise KeyboardInterrupt from stopped
            raise SystemExit(0) from stopped


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as an error would, so that whoever was started in it is ended too; the status is 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
