"""How signals end the suite's trainings, and a queue with the processes that it started."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_queue import unit
from training_world import config

from repro.harness.experiment import Row
from repro.stages import queue, students
from repro.stages.queue import Crew, QueueError, watch, work
from repro.stages.stopping import stoppable
from repro.stages.store import StageStore
from swd.errors import TrainingStopped
from swd.training.stopping import StopSignals

# Says that it is there, and ends by SIGTERM in its own time, as a training that saves a state.
SAVING = """
import signal, sys, time
from pathlib import Path
def save(number, frame):
    Path(sys.argv[1], "saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
Path(sys.argv[1], "there").touch()
time.sleep(60)
"""


def stop_by(number: signal.Signals) -> None:
    with stoppable() as stop:
        assert stop is not None
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        raise TrainingStopped(3, Path("state-000003"))


def test_a_training_that_sigterm_stopped_ends_the_command_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        stop_by(signal.SIGTERM)
    assert ended.value.code == 0
    assert "stopped after 3 iterations, saved in state-000003" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_one_that_ctrl_c_stopped_ends_it_as_ctrl_c_does() -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_by(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_of_a_queue_that_is_stopped_begins_no_other_unit(tmp_path: Path, number: signal.Signals) -> None:
    found = [unit(tmp_path, "a", lambda: stop_by(number)), unit(tmp_path, "b")]
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        work(found, tmp_path)
    assert not (tmp_path / "b").exists()
    with pytest.raises(QueueError, match="TrainingStopped"):  # the unit is free again
        work([unit(tmp_path, "a", lambda: raised()), found[1]], tmp_path)
    assert (tmp_path / "b").exists()


def raised() -> None:
    raise TrainingStopped(1, Path("state-000001"))


def test_outside_the_main_thread_no_signal_is_waited_for() -> None:
    given: list[object] = []

    def run() -> None:
        with stoppable() as stop:
            given.append(stop)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert given == [None]


def test_a_queue_that_sigterm_ends_ends_its_processes_in_their_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.02)
    script = tmp_path / "saving.py"
    script.write_text(SAVING)
    crew = Crew([sys.executable, str(script), str(tmp_path)], 1, lambda _: {})
    tend = crew.tend

    def terminated(*, progressed: bool) -> list[int]:
        if (tmp_path / "there").exists():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
        return tend(progressed=progressed)

    crew.tend = terminated  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        watch([unit(tmp_path, "a")], crew)
    assert ended.value.code == 0
    assert (tmp_path / "saved").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_students_training_is_stopped_and_its_stage_is_left_to_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def train(*given: object, stop: StopSignals, state_minutes: float, accelerator: object) -> None:
        asked.append(state_minutes)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        raise TrainingStopped(1, Path("state-000001"))

    for name in ("load_pipeline", "latent_cache", "denoiser_of", "lone_accelerator"):
        monkeypatch.setattr(students, name, lambda *given, **more: None)
    monkeypatch.setattr(students, "train", train)
    plan = SimpleNamespace(training=config(), data="world")
    monkeypatch.setattr(students, "resolve", lambda *given: plan)
    inputs = {"config": {"iterations": 3}, "pipeline": "p"}
    monkeypatch.setattr(students, "student_inputs", lambda *given: inputs)
    world = SimpleNamespace(profile=SimpleNamespace(weights=SimpleNamespace(pipeline="p")), root=tmp_path)
    store = StageStore(tmp_path / "stages")
    for _ in range(2):  # nobody holds it after the first
        with pytest.raises(SystemExit):
            students.distil(store, world, Row("a", "A"), seed=0, rows=(), device=torch.device("cpu"))
    assert asked == [students.STATE_MINUTES] * 2
    assert 0 < students.STATE_MINUTES <= 5
    assert not store.finished(students.STAGE, inputs)
