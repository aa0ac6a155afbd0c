"""`python -m repro table2 --profile smoke`, as a user runs it: killed, started again, and run a third time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from repro.harness import records

ROOT = Path(__file__).parents[2]
STUDENTS = {"scalewise_6", "scalewise_4", "fullscale_6", "fullscale_4", "fullscale_2"}
TWO = ("scalewise_4", "fullscale_2")
ROWS = {"real", "real_decoded", "teacher"} | STUDENTS


def command(folder: Path) -> list[str]:
    options = ["--profile", "smoke", "--out", str(folder / "out"), "--work", str(folder / "work"), "--device", "cpu"]
    return [sys.executable, "-m", "repro", "table2", *options]


def wait_for(pattern: str, folder: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while not list(folder.glob(pattern)):
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline, f"no {pattern} after 240 s"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_run_is_continued_by_two_at_once_and_a_third_does_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_for("work/images/*/shard-*.jsonl", tmp_path, first)
        os.kill(first.pid, signal.SIGKILL)
    assert not (tmp_path / "out" / "records").exists() or not list((tmp_path / "out" / "records").iterdir())
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("work/images/*/shard-*.jsonl")}

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command(tmp_path), cwd=ROOT, **quiet) as beside:
        second = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert second.returncode == 0, second.stderr[-2000:]
        assert beside.wait(100) == 0
    assert "# Table 2" in second.stdout
    assert "smoke" in second.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "finished shards were drawn again"
    found = records.load(tmp_path / "out" / "records" / "table2.jsonl")
    assert {record.variant for record in found.records} == ROWS
    assert {record.profile for record in found.records} == {"smoke"}
    for name in ("table2_samples.png", "table2_compute.png"):
        assert (tmp_path / "out" / "figures" / name).stat().st_size > 1000

    third = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert third.returncode == 0, third.stderr[-2000:]
    assert "nothing to do" in third.stderr


@pytest.mark.slow
def test_retraining_distils_every_student_once(tmp_path: Path) -> None:
    typed = [*command(tmp_path), "--retrain", "--rows", *TWO]
    first = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert first.returncode == 0, first.stderr[-2000:]
    trained = {path: path.read_bytes() for path in tmp_path.glob("work/students/*/final/*.safetensors")}
    assert len(trained) == len(set(trained.values())) == len(TWO)
    (run,) = records.load(tmp_path / "out" / "records" / "table2.jsonl").runs
    assert run.config["retrain"] is True

    path = next(iter(trained))  # a student that went missing is exported again, and is the same
    before = load_file(path)
    path.unlink()
    second = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert second.returncode == 0, second.stderr[-2000:]
    after = load_file(path)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_smoke_numbers_may_not_enter_paper_tables() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "repro", "table2", "--profile", "smoke", "--out", str(ROOT / "paper_tables")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "do not belong into paper_tables" in done.stderr


@pytest.mark.slow
def test_the_extended_table_runs(tmp_path: Path) -> None:
    done = subprocess.run([*command(tmp_path), "--extended"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = records.load(tmp_path / "out" / "records" / "table2_extended.jsonl")
    assert {record.variant for record in found.records} == ROWS | {"spectrum_6", "spectrum_4"}
    page = (tmp_path / "out" / "table2_extended.md").read_text(encoding="utf-8")
    assert "scales from the spectrum (3 % fewer tokens) are not worse" in page
    assert "grows from half the side" not in page  # a smoke run has no such rows
