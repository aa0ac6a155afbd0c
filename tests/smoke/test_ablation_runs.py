"""Ablations as a user runs them: a queue that is killed, students that diverge, data that the teacher draws."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repro import _ablations as ablations
from repro.harness import records
from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import ROOT
from repro.harness.schema import RecordSet
from repro.kinds.scores.declare import Table
from repro.kinds.scores.measure import run
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.page import page
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.units import units
from repro.profiles.smoke import PROFILE
from repro.stages.store import StageStore
from repro.stages.students import distil, training_log
from repro.worlds.base import load_world
from swd.lora.files import ADAPTER_FILE

ASTRAY = Row("astray", "Rate of a hundred million", train={"schedule": "6", "lr": 1e8})
TABLE = Table(
    key="table6",
    title="Toy ablations",
    question="Does it go on?",
    rows=(ablations.FULL, ASTRAY),
    seeds=(0,),
    prompts="MJHQ",
    against=ablations.FULL.key,
)


def options(folder: Path) -> ScoresOptions:
    return ScoresOptions(out=folder / "out", work=folder / "work", device="cpu", retrain=True, rows=())


@pytest.mark.slow
def test_a_student_that_diverges_is_shown_and_stops_nothing(tmp_path: Path) -> None:
    profile = TABLE.in_profile(PROFILE)
    measured: RecordSet = records.load(run(TABLE, profile, options(tmp_path)))
    notes = {record.note for record in measured.find("astray", "compositional", "scene_score")}
    (note,) = notes
    assert note.startswith("seed 0 diverged: ")
    assert all(record.value is not None for record in measured.find("full", "compositional", "scene_score"))
    text = page(ScoresResult(TABLE, PROFILE, measured), tmp_path / "out")
    assert "diverged" in text
    before = sorted(tmp_path.glob("work/students/*/finished.json"))
    run(TABLE, profile, options(tmp_path))  # nor is it tried again
    assert sorted(tmp_path.glob("work/students/*/finished.json")) == before
    for unit in (found := list(units(TABLE, profile, options(tmp_path)))):
        unit.do()
    assert all(unit.done() for unit in found)


@pytest.mark.slow
def test_a_longer_training_goes_on_from_a_shorter_one_and_the_teacher_draws_data(tmp_path: Path) -> None:
    store, world, device = StageStore(tmp_path), load_world(PROFILE, ROOT), torch.device("cpu")
    shorter, longer = (replace(ablations.FULL, train={"schedule": "6", "iterations": n}) for n in (1, 2))
    rows = (shorter, longer, ablations.BY_TEACHER)
    for row in rows:
        distil(store, world, row, seed=0, rows=rows, device=device)
    logs = [training_log(store, world, row, 0, device) for row in rows]
    assert logs[1][0] == logs[0][0]  # its seconds too
    assert [len(log) for log in logs] == [1, 2, 3]
    assert logs[2][0]["dmd"] != logs[0][0]["dmd"]
    assert len(list(tmp_path.glob("latents/*/finished.json"))) == 2


@pytest.mark.slow
def test_a_damaged_student_and_cache_are_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, device = load_world(PROFILE, ROOT), torch.device("cpu")
    row = replace(ablations.FULL, train={"schedule": "6", "iterations": 1})

    def adapter() -> Path:
        return distil(StageStore(tmp_path), world, row, seed=0, rows=(row,), device=device) / ADAPTER_FILE

    whole = adapter().read_bytes()
    (index,) = tmp_path.glob("latents/*/index.json")
    before = index.read_bytes()
    index.write_bytes(before[:40])
    adapter_file = next(tmp_path.glob(f"students/*/final/{ADAPTER_FILE}"))
    adapter_file.write_bytes(whole[:-4] + bytes(4))
    assert adapter().read_bytes() == whole
    assert index.read_bytes() == before
    told = capsys.readouterr().err
    assert f"{ADAPTER_FILE} is not what was written (another SHA-256): it is made again" in told
    assert "index.json" in told


def test_a_block_that_the_network_lacks_is_refused_before_anything_runs(tmp_path: Path) -> None:
    table = replace(TABLE, rows=(ablations.FULL, ablations.variant("deep", "Too deep", feature_block=9)))
    for begin in (run, lambda *of: list(units(*of))):
        with pytest.raises(ExperimentError, match="row deep in profile smoke: feature_block 9 is past the last block"):
            begin(table, table.in_profile(PROFILE), options(tmp_path))
    assert not (tmp_path / "work" / "students").exists()


@pytest.mark.slow
def test_a_queue_is_killed_and_gone_on_with(tmp_path: Path) -> None:
    typed = ["queue", "table6", "--profile", "smoke", "--workers", "2", "--device", "cpu"]
    typed += ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    command = [sys.executable, "-m", "repro", *typed]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 240
        while len(trained := list(tmp_path.glob("work/students/*/finished.json"))) < 2:
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(first.pid, signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in trained}
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert second.returncode == 0, second.stderr[-2000:]
    assert "# Table 6" in second.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(tmp_path.glob("work/students/*/finished.json"))) == 7
    planned = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert "0 units are left with 0 TFLOP" in planned.stdout
    again = subprocess.run(
        [sys.executable, "-m", "repro", "table6", "--profile", "smoke", *typed[6:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "stands; --retrain distils its students again" in again.stderr
