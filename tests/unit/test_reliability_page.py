"""The page of faults: counts from records, and a reason where a fault could not be injected."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from harness_world import RUN

from repro.harness.cells import DASH
from repro.harness.experiment import ExperimentError
from repro.harness.options import RunOptions
from repro.harness.records import load
from repro.harness.schema import Record, RecordError, RecordSet
from repro.kinds.reliability import keys, measure, training
from repro.kinds.reliability.cases import _no_more_than_was_damaged
from repro.kinds.reliability.declare import Fault
from repro.kinds.reliability.faults import (
    FaultError,
    Outcome,
    UnavailableError,
    cut,
    flip,
    in_last_line,
    zero,
)
from repro.kinds.reliability.page import page
from repro.kinds.reliability.result import ReliabilityResult
from repro.kinds.reliability.work import IMAGES, TRAINING, Work
from repro.profiles import mini
from repro.reliability import PAGE

FAULTS = (Fault("training_kill", "Killed", 5), Fault("images_full_disk", "Disk full", 2))


def no_disk(folder: Path, seed: int, count: int) -> Outcome:
    raise UnavailableError("a small disk can be mounted by root alone")


def torn(folder: Path, seed: int, count: int) -> Outcome:
    raise FaultError("run-0: 1 of 9 differ")


def test_counts_of_faults_reach_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {"training_kill": lambda folder, seed, count: Outcome(count, 1), "images_full_disk": no_disk}
    monkeypatch.setattr(measure, "CASES", cases)
    experiment = replace(PAGE, faults=FAULTS)
    options = RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="test")
    path = measure.run(experiment, mini.PROFILE, options)
    assert not list((tmp_path / "work" / "faults").iterdir())
    text = page(ReliabilityResult(experiment, mini.PROFILE, load(path)), tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == [["Killed", "5", "1"], ["Disk full", "0", DASH]]
    assert "- Disk full: not injected, a small disk can be mounted by root alone." in text


def test_counts_that_were_not_taken_are_a_dash() -> None:
    experiment = replace(PAGE, faults=FAULTS[:1])
    run = replace(RUN, table=PAGE.key, config=experiment.content)
    counted = Record.of(run, "training_kill", keys.INJECTED, 5.0, n=5)
    text = page(ReliabilityResult(experiment, mini.PROFILE, RecordSet.of([run, counted])), Path())
    (row,) = (line for line in text.splitlines() if line.startswith("| Killed"))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["Killed", "5", DASH]


def test_an_iteration_that_was_done_again_is_counted_by_its_mark(tmp_path: Path) -> None:
    """Its losses are the same, and so may be its seconds."""
    lines = [{"iteration": number, "total": 0.5, "seconds": 0.01, "mark": f"{number}"} for number in range(4)]

    def write(folder: Path) -> None:
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    (tmp_path / "state-000003").mkdir()
    write(tmp_path)
    before = TRAINING.saved(tmp_path)
    assert set(before) == {0, 1, 2}
    assert TRAINING.repeated(tmp_path, before) == 0
    for number in (2, 3):  # of which the second was not finished
        lines[number]["mark"] = "again"
    write(tmp_path)
    assert TRAINING.repeated(tmp_path, before) == 1
    assert training.left(tmp_path)["losses"] == [{"iteration": number, "total": 0.5} for number in range(4)]


def test_a_shard_that_was_written_again_is_counted(tmp_path: Path) -> None:
    paths = [
        tmp_path / "images" / "set" / "shard-00000.jsonl",
        tmp_path / "measured" / "set" / "shard-00000.safetensors",
    ]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"the same")
        os.utime(path, ns=(1, 1))
    before = IMAGES.saved(tmp_path)
    assert IMAGES.repeated(tmp_path, before) == 0
    paths[1].write_bytes(b"the same")
    assert IMAGES.repeated(tmp_path, before) == 1


def test_work_that_goes_on_says_what_it_did_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([{"a": 1, "b": 1}, {"a": 2, "b": 1, "c": 1}])
    work = Work(lambda folder: None, lambda folder: {"weights": 1}, lambda folder: next(states))
    monkeypatch.setattr(Work, "finish", lambda *_: None)
    assert work.recover(tmp_path, tmp_path) == 1
    with pytest.raises(FaultError, match=r"run-3: 2 steps or shards were done again, one was damaged"):
        _no_more_than_was_damaged(2, Path("run-3"))


@pytest.mark.parametrize("damage", [flip, cut, zero])
def test_only_the_last_line_of_a_log_is_damaged(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path, lines = tmp_path / "log.jsonl", [b'{"iteration": 0}\n', b'{"iteration": 1}\n']
    path.write_bytes(b"".join(lines))
    in_last_line(damage, path)
    found = path.read_bytes()
    assert found.startswith(lines[0])
    assert found != b"".join(lines)
    with pytest.raises(ValueError, match=r"Expecting|Invalid|Unterminated|delimiter"):
        json.loads(found[len(lines[0]) :])


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
