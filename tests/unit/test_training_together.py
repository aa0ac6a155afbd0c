"""When a run saves and stops, without a second process: those of several are in `tests/smoke/test_process_groups`."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from training_world import World, fresh_accelerate, losses

from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.errors import ConfigError, OutputFolderError, StateError
from swd.training import train
from swd.training.together import Pace, any_process, together

ALONE = SimpleNamespace(num_processes=1, is_main_process=True, device=torch.device("cpu"))


def others(*flags: float) -> SimpleNamespace:
    """An accelerator of two processes, whose other one has these flags up."""
    reduce = lambda mine, how: mine + torch.tensor(flags)  # noqa: E731
    return SimpleNamespace(num_processes=2, is_main_process=True, device=torch.device("cpu"), reduce=reduce)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by the clock that never jumps, in seconds, to be moved by hand."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_state_is_due_after_its_minutes_and_then_again(clock: list[float]) -> None:
    pace = Pace(ALONE, minutes=2)
    assert pace.ask() == (False, False)
    clock[0] += 119
    assert pace.ask() == (False, False)
    clock[0] += 1
    assert pace.ask() == (False, True)
    pace.restart()
    assert pace.ask() == (False, False)


def test_the_main_process_clock_counts_and_anybody_may_stop(clock: list[float]) -> None:
    late = Pace(others(0, 0), minutes=1)
    clock[0] += 60
    assert late.ask() == (False, True)
    late.accelerator.is_main_process = False
    assert late.ask() == (False, False)
    assert Pace(others(1, 0), stop=lambda: False).ask() == (True, False)
    assert Pace(others(0, 1), minutes=5).ask() == (False, True)  # as the other one says


def test_flags_are_of_any_process() -> None:
    assert any_process(ALONE, True, False) == (True, False)
    assert any_process(others(0, 1, 0), True, False, False) == (True, True, False)


def test_a_failure_ends_all_processes_each_with_its_own_words() -> None:
    whose = "another process could not save a state: its own message says why"
    with pytest.raises(StateError, match=whose), together(others(1), "save a state"):
        pass
    with pytest.raises(OutputFolderError, match="full"), together(others(0), "save a state"):
        raise OutputFolderError("full")
    with together(others(0), "save a state"):
        pass


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_minutes_between_states_are_positive(tiny_denoiser: SD3Denoiser, tmp_path: Path, minutes: float) -> None:
    with fresh_accelerate(), pytest.raises(ConfigError, match=f"state_minutes must be positive, got {minutes}"):
        World(tiny_denoiser, tmp_path).train("run", state_minutes=minutes)


def test_states_go_by_time_beside_iterations(
    tiny_denoiser: SD3Denoiser, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Iterations of a minute each; a state is due after two."""
    saved = []
    with fresh_accelerate():
        world = World(tiny_denoiser, tmp_path)
        plain = world.train("plain", iterations=5, checkpoint_every=100)
        trainer = world.trainer("timed", iterations=5, checkpoint_every=100, state_minutes=2.0)
        report, save = trainer._report, trainer.store.save
        monkeypatch.setattr(trainer, "_report", lambda *given: (report(*given), clock.__setitem__(0, clock[0] + 60)))
        monkeypatch.setattr(trainer.store, "save", lambda state: (saved.append(state.iteration), save(state)))
        timed = trainer.run(resume=True)
    assert saved == [2, 4, 5]
    assert losses(timed) == losses(plain)
    assert train.__kwdefaults__["state_minutes"] is None  # who does not ask has the states of before
