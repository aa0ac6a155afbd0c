"""What the processes of a run decide together: the state they go on from, when to save, when to stop, that one failed.

A process that went its own way would leave the others waiting in their next exchange until the launcher kills them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from swd.errors import USER_ERRORS, ConfigError, StateError
from swd.training.state import TORN, StateStore, TrainState

NOTHING = -1  # in place of an iteration: there is no state


def any_process(accelerator: Any, *flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is raised in any process."""
    if accelerator.num_processes == 1:
        return flags
    mine = torch.tensor([float(flag) for flag in flags], device=accelerator.device)
    return tuple(bool(count) for count in accelerator.reduce(mine, "sum").tolist())


def check_minutes(minutes: float | None) -> None:
    """Raise ConfigError unless minutes between states are positive, or none are asked for."""
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"state_minutes must be positive, got {minutes}")


@contextmanager
def together(accelerator: Any, what: str) -> Iterator[None]:
    """An error of a user that one process meets in the block ends it in all of them; they wait here for each other.

    Args:
        accelerator: of the run.
        what: the block does, for the others' message.

    Raises:
        StateError: another process failed; what this one raised itself passes through.
    """
    error: Exception | None = None
    try:
        yield
    except USER_ERRORS as found:
        error = found
    (failed,) = any_process(accelerator, error is not None)
    if error is not None:
        raise error
    if failed:
        raise StateError(f"another process could not {what}: its own message says why")


def newest_state(store: StateStore, accelerator: Any) -> TrainState | None:
    """The state that all processes go on from: the newest that the main process finds whole.

    Torn ones are passed over there, with a warning that names each; nobody takes another than the main process does.

    Raises:
        StateError: the state is of another version, or a process cannot read what the main process found.
    """
    state: TrainState | None = None
    with together(accelerator, "read the states"):
        if accelerator.is_main_process:
            state = store.latest()
    if accelerator.num_processes == 1:
        return state
    found = (NOTHING if state is None else state.iteration) if accelerator.is_main_process else 0
    told: Any = accelerator.reduce(torch.tensor([found], device=accelerator.device), "sum")  # the others add nothing
    chosen = int(told.item())
    with together(accelerator, f"read {store.folder_of(chosen)}, which must be in one folder for all"):
        if chosen != NOTHING and state is None:
            state = _same(store, chosen)
    return state


def _same(store: StateStore, iteration: int) -> TrainState:
    try:
        return store.read(iteration)
    except TORN as error:
        raise StateError(
            f"the main process goes on from {store.folder_of(iteration)}, which cannot be read here ({error}): the "
            "output must be one folder for all processes"
        ) from error


@dataclass
class Pace:
    """When a run saves by the clock and stops when asked: all processes after the same iteration.

    Attributes:
        accelerator: of the run; the main process's clock counts.
        stop: asked on each process; absent, nobody asks.
        minutes: from the last state to the next; absent, states go by iterations alone.

    Raises:
        ConfigError: ``minutes`` is not positive.
    """

    accelerator: Any
    stop: Callable[[], bool] | None = None
    minutes: float | None = None
    _since: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        check_minutes(self.minutes)
        self.restart()

    def restart(self) -> None:
        """Count from now on: a state was saved, or training begins."""
        self._since = time.monotonic()

    def ask(self) -> tuple[bool, bool]:
        """Whether to stop, and whether a state is due by the clock."""
        if self.stop is None and self.minutes is None:
            return False, False
        asked = self.stop is not None and self.stop()
        late = self.minutes is not None and time.monotonic() - self._since >= 60 * self.minutes
        stopping, due = any_process(self.accelerator, asked, late and self.accelerator.is_main_process)
        return stopping, due
