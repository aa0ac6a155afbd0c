"""The queue: units are done once whoever is killed, failures are named, and processes are started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from repro.harness.experiment import ExperimentError
from repro.harness.units import Spent, Unit
from repro.stages import queue
from repro.stages.queue import Crew, QueueError, clock_time, environment, flops_left, planned, watch, work

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
    return Unit(name=name, label=name, flops=1.0, student=name, done=(folder / name).exists, do=do)

work([unit(f"unit{n:02d}") for n in range(12)], folder)
"""


def unit(folder: Path, name: str, do: Callable[[], None] | None = None, flops: float = 1.0, **more: Any) -> Unit:
    return Unit(
        name=name,
        label=f"Row {name}, seed 0",
        flops=flops,
        student=name,
        done=(folder / name).exists,
        do=do or (folder / name).touch,
        **more,
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
    with pytest.raises(QueueError, match="Row b, seed 0: ExperimentError: no memory"):
        work(found, tmp_path)
    assert (tmp_path / "a").exists()
    assert (tmp_path / "c").exists()
    with pytest.raises(QueueError, match="no memory"):
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


def test_any_error_of_a_unit_is_its_own(tmp_path: Path) -> None:
    def breaks() -> None:
        raise ZeroDivisionError("no images")

    with pytest.raises(QueueError, match="Row a, seed 0: ZeroDivisionError: no images"):
        work([unit(tmp_path, "a", breaks), unit(tmp_path, "b")], tmp_path)
    assert (tmp_path / "b").exists()


def test_nobody_is_started_where_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    watch([unit(tmp_path, "a")], Crew(["no such program"], 1, lambda _: {}))


def test_the_plan_has_a_line_for_a_row_and_counts_a_shared_training_once(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    shared = {"training_flops": 6e12, "spent": lambda: Spent(10e12, 3600.0)}
    found = [
        unit(tmp_path, "a", flops=3e12, **shared),
        replace(unit(tmp_path, "b", flops=1e12, **shared), student="a", label="Row a, seed 1"),
    ]
    text = planned(found, 2)
    assert "2 units, 10 TFLOP of networks; 1 units are left with 1 TFLOP" in text
    assert "about 0.1 hours for 2 processes by the 2 units" in text
    assert "| Row a   |           1 | 1 of 2 |" in text
    fresh = planned([unit(tmp_path, "c", flops=1e12)], 2)
    assert "how long that takes is known once a unit was done" in fresh


def test_processes_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = os.cpu_count() or 1
    assert queue.count_workers(None) == cores
    assert environment(0, workers=cores) == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,MIG-5")
    assert queue.count_workers(None) == 2
    found = [environment(place, workers=4)["CUDA_VISIBLE_DEVICES"] for place in range(4)]
    assert found == ["2", "MIG-5", "2", "MIG-5"]


def test_an_end_on_another_day_is_shown_with_its_date() -> None:
    now = datetime(2026, 11, 27, 12, 0).timestamp()
    assert clock_time(datetime(2026, 11, 27, 14, 5).timestamp(), now) == "14:05"
    assert clock_time(datetime(2026, 11, 28, 11, 2).timestamp(), now) == "2026-11-28 11:02"


def test_a_training_that_another_unit_has_done_is_not_left(tmp_path: Path) -> None:
    two_tables = [
        replace(unit(tmp_path, name), student=student, training_flops=10.0)
        for name, student in (("a5", "a"), ("a7", "a"), ("b5", "b"), ("b7", "b"))
    ]
    assert flops_left(two_tables, {"a5", "a7", "b5", "b7"}) == 4 + 20
    assert flops_left(two_tables, {"a7", "b5", "b7"}) == 3 + 10
    assert flops_left(two_tables, {"a7", "b7"}) == 2
