"""The page of faults: counts from records, and a reason where a fault could not be injected."""

from dataclasses import replace
from pathlib import Path

import pytest
from harness_world import RUN

from repro.harness.cells import DASH
from repro.harness.experiment import ExperimentError
from repro.harness.options import RunOptions
from repro.harness.records import load
from repro.harness.schema import RecordError, RecordSet
from repro.kinds.reliability import measure
from repro.kinds.reliability.declare import Fault
from repro.kinds.reliability.faults import FaultError, Outcome, UnavailableError
from repro.kinds.reliability.page import page
from repro.kinds.reliability.result import ReliabilityResult
from repro.profiles import mini
from repro.reliability import PAGE

FAULTS = (Fault("training_kill", "Killed", 5), Fault("images_full_disk", "Disk full", 2))


def no_disk(folder: Path, seed: int, count: int) -> Outcome:
    raise UnavailableError("a small disk can be mounted by root alone")


def torn(folder: Path, seed: int, count: int) -> Outcome:
    raise FaultError("run-0: 1 of 9 differ")


def test_counts_of_faults_reach_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {"training_kill": lambda folder, seed, count: Outcome(count, count, 1), "images_full_disk": no_disk}
    monkeypatch.setattr(measure, "CASES", cases)
    experiment = replace(PAGE, faults=FAULTS)
    options = RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="test")
    path = measure.run(experiment, mini.PROFILE, options)
    assert not list((tmp_path / "work" / "faults").iterdir())
    text = page(ReliabilityResult(experiment, mini.PROFILE, load(path)), tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == [["Killed", "5", "5", "1"], ["Disk full", "0", DASH, DASH]]
    assert "- Disk full: not injected, a small disk can be mounted by root alone." in text


def test_a_run_that_does_not_recover_ends_the_measurement_and_its_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "CASES", {"training_kill": torn})
    experiment = replace(PAGE, faults=FAULTS[:1])
    options = RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="test")
    with pytest.raises(ExperimentError, match=r"Killed: run-0: 1 of 9 differ; see .*training_kill-"):
        measure.run(experiment, mini.PROFILE, options)
    assert len(list((tmp_path / "work" / "faults").iterdir())) == 1
    assert not (tmp_path / "out").exists()


def test_records_from_before_a_fault_say_so() -> None:
    run = replace(RUN, table=PAGE.key, config={})
    result = ReliabilityResult(PAGE, mini.PROFILE, RecordSet.of([run]))
    with pytest.raises(RecordError, match="injected of training_kill was not counted"):
        page(result, Path())
