"""The queue: units are done once whoever is killed, failures are named, and processes are started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from repro.harness.experiment import ExperimentError
from repro.harness.units import Unit
from repro.stages import queue
from repro.stages.queue import Crew, QueueError, environment, planned, watch, work

WORKER = """
import sys, time
from pathlib import Path
from repro.harness.units import Unit
from repro.stages.queue import work

folder = Path(sys.argv[1])

def unit(name):
    def do():
        with (folder / "begun").open("a") as stream:
            stream.write(name + "\\n")
        time.sleep(0.2)
        (folder / name).write_text("done")
    return Unit(name=name, label=name, tokens=1.0, student=name, done=(folder / name).exists, do=do)

work([unit(f"unit{n:02d}") for n in range(12)], folder)
"""


def unit(folder: Path, name: str, do: Callable[[], None] | None = None, tokens: float = 1.0) -> Unit:
    return Unit(
        name=name,
        label=f"Row {name}, seed 0",
        tokens=tokens,
        student=name,
        done=(folder / name).exists,
        do=do or (folder / name).touch,
    )


def fails() -> None:
    raise ExperimentError("no memory")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    return [sys.executable, str(script), str(tmp_path)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.05)


def units(folder: Path) -> list[Unit]:
    return [unit(folder, f"unit{n:02d}") for n in range(12)]


def test_a_unit_that_fails_is_named_and_stops_no_other(tmp_path: Path) -> None:
    found = [unit(tmp_path, "a"), unit(tmp_path, "b", fails), unit(tmp_path, "c")]
    with pytest.raises(QueueError, match="b: no memory"):
        work(found, tmp_path)
    assert (tmp_path / "a").exists()
    assert (tmp_path / "c").exists()
    with pytest.raises(QueueError, match="b: no memory"):
        work(found, tmp_path)  # tried again by the next process


def test_an_orphan_ends_before_the_next_unit(tmp_path: Path) -> None:
    begun: list[str] = []
    found = [unit(tmp_path, name, lambda name=name: begun.append(name) or (tmp_path / name).touch()) for name in "ab"]
    with pytest.raises(SystemExit):
        work(found, tmp_path, orphaned=lambda: bool(begun))
    assert begun == ["a"]


@pytest.mark.slow
def test_killed_workers_are_replaced_and_nothing_is_lost(tmp_path: Path, command: list[str]) -> None:
    crew = Crew(command, 2, lambda _: {})
    killed: list[int] = []
    tend = crew.tend

    def killing(*, progressed: bool) -> list[int]:
        if len(killed) < 3 and len(list(tmp_path.glob("unit*"))) > 2 * len(killed):
            process = next(iter(crew._running.values()))
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed.append(process.pid)
        return tend(progressed=progressed)

    crew.tend = killing  # type: ignore[method-assign]
    watch(units(tmp_path), crew)
    assert len(killed) == 3
    assert all(one.done() for one in units(tmp_path))
    begun = (tmp_path / "begun").read_text().split()
    assert len(begun) <= 12 + 3  # what a killed process had begun is begun again, and nothing else
    assert crew.is_over or not [process for process in crew._running.values() if process.poll() is None]


@pytest.mark.slow
def test_a_queue_that_is_killed_is_gone_on_with(tmp_path: Path, command: list[str]) -> None:
    with subprocess.Popen(command) as first:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("unit*"))) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("unit*")}
    watch(units(tmp_path), Crew(command, 2, lambda _: {}))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len((tmp_path / "begun").read_text().split()) <= 13


def test_processes_that_end_and_leave_units_are_an_error(tmp_path: Path) -> None:
    crew = Crew([sys.executable, "-c", "raise SystemExit(3)"], 2, lambda _: {})
    with pytest.raises(QueueError, match=r"status \[3(, 3)?\] and left Row a, seed 0"):
        watch([unit(tmp_path, "a")], crew)


def test_a_process_that_is_killed_again_and_again_is_given_up(tmp_path: Path) -> None:
    suicide = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with pytest.raises(QueueError, match="killed by signal 9 5 times in a row"):
        watch([unit(tmp_path, "a")], Crew(suicide, 1, lambda _: {}))


def test_the_plan_has_a_line_for_a_row(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    text = planned([unit(tmp_path, "a", tokens=3.0), unit(tmp_path, "b", tokens=1.0)])
    assert "2 units, 25 % of the work is left" in text
    assert "| Row a |           1 |  1 of 1 |                   75.0 |" in text


def test_processes_share_cores_and_gpus() -> None:
    cores = os.cpu_count() or 1
    assert environment(0, workers=cores, gpus=0) == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert [environment(place, workers=4, gpus=2)["CUDA_VISIBLE_DEVICES"] for place in range(4)] == ["0", "1", "0", "1"]
