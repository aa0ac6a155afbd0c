import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from training_world import CONFIG

from swd import files
from swd.errors import OutputFolderError, StateError
from swd.files import CHECKSUMS, probe_writable, replacing_folder, write_json
from swd.training.state import LossLog, RunIdentity, StateStore, TrainState


def state(iteration: int) -> TrainState:
    identity = RunIdentity(config=CONFIG.as_json(), data="d", teacher="t")
    values = {"student/a": torch.full((3,), float(iteration)), "ema/a": torch.ones(2)}
    return TrainState(iteration=iteration, position=2 * iteration, seconds=1.5, identity=identity, tensors=values)


def test_state_reads_back_exactly(tmp_path: Path) -> None:
    store = StateStore(tmp_path, keep_last=2)
    store.save(state(4))
    read = store.latest()
    assert read is not None
    assert (read.iteration, read.position, read.seconds, read.identity) == (4, 8, 1.5, state(4).identity)
    assert torch.equal(read.part("student")["a"], torch.full((3,), 4.0))
    assert read.part("ema").keys() == {"a"}


def test_only_the_newest_states_are_kept(tmp_path: Path) -> None:
    store = StateStore(tmp_path, keep_last=2)
    for iteration in (1, 2, 999_999, 1_000_000):
        store.save(state(iteration))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state-1000000", "state-999999"]
    assert store.latest().iteration == 1_000_000


@pytest.mark.parametrize("damage", ["cut tensors", "cut json", "no json", "no tensors", "flipped bit", "other json"])
def test_torn_state_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    store = StateStore(tmp_path, keep_last=2)
    store.save(state(1))
    spoil(store.save(state(2)), damage)
    with pytest.warns(RuntimeWarning, match="state-000002 is torn"):
        assert store.latest().iteration == 1
    assert store.latest_folder() == tmp_path / "state-000001"


def spoil(folder: Path, damage: str) -> None:
    facts, values = folder / "state.json", folder / "tensors.safetensors"
    if damage == "cut tensors":
        values.write_bytes(values.read_bytes()[:-1])
    elif damage == "cut json":
        facts.write_text(facts.read_text()[:40])
    elif damage == "flipped bit":
        content = bytearray(values.read_bytes())
        content[-2] ^= 4  # of the last tensor: safetensors itself reads it as another number
        values.write_bytes(content)
    elif damage == "other json":
        facts.write_text(facts.read_text().replace('"position": 4', '"position": 5'))
    else:
        (facts if damage == "no json" else values).unlink()


def test_a_damaged_file_is_named_and_states_without_checksums_are_read(tmp_path: Path) -> None:
    store = StateStore(tmp_path, keep_last=2)
    store.save(state(1))
    folder = store.save(state(2))
    spoil(folder, "flipped bit")
    with pytest.warns(RuntimeWarning, match=r"state-000002 is torn \(tensors.safetensors is not what was written"):
        store.latest()
    (folder / CHECKSUMS).unlink()
    assert store.latest().iteration == 2


def test_unreadable_newer_states_do_not_push_out_the_states_of_a_restarted_run(tmp_path: Path) -> None:
    store = StateStore(tmp_path, keep_last=2)
    for iteration in (250, 500):
        spoil(store.save(state(iteration)), "cut tensors")
    with pytest.warns(RuntimeWarning, match="is torn"):
        assert store.latest() is None
    assert store.latest_folder() is None
    for iteration in (1, 2):
        assert store.save(state(iteration)).is_dir()
        assert store.latest().iteration == iteration
        assert store.latest_folder() == tmp_path / f"state-{iteration:06d}"
    kept = ["state-000001", "state-000002", "state-000250.torn", "state-000500.torn"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_state_of_another_version_is_refused_not_passed_over(tmp_path: Path) -> None:
    store = StateStore(tmp_path, keep_last=2)
    store.save(state(1))
    facts = store.save(state(2)) / "state.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "schema": 99}))
    with pytest.raises(StateError, match="state-000002 is a state of schema 99, this version reads 1"):
        store.latest()
    assert store.latest_folder() == tmp_path / "state-000001"


def test_full_disk_while_saving_keeps_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateStore(tmp_path, keep_last=1)
    store.save(state(1))

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(OutputFolderError, match=r"cannot write .*No space left.*the last good state is .*state-000001"):
        store.save(state(2))
    assert [path.name for path in tmp_path.iterdir()] == ["state-000001"]
    assert store.latest().iteration == 1


def test_a_full_disk_below_the_log_is_told_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LossLog(tmp_path / "log.jsonl")
    log.append({"iteration": 0, "total": 0.5})

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputFolderError, match=r"cannot write .*log\.jsonl: No space left"):
        log.rewind(0)
    assert [line["iteration"] for line in log.lines()] == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_two_may_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    with files._replacing(path) as first:
        first.write_text("first")
        with files._replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_what_a_killed_process_left_half_written_goes_after_a_day(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".a.0001.partial", ".b.0002.partial", "c.partial"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.0002.partial", "c.partial"]


def test_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing_folder(tmp_path / "made") as temporary:
            write_json(temporary / "a.json", 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_unwritable_or_small_disk_is_found_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputFolderError, match="cannot write to"):
        probe_writable(tmp_path / "file" / "run", needed_bytes=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 3 << 20))
    with pytest.raises(OutputFolderError, match="needs about 4 MiB, but only 3 MiB are free"):
        probe_writable(tmp_path, needed_bytes=4 << 20)
    probe_writable(tmp_path, needed_bytes=3 << 20)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_log_drops_what_the_resumed_state_has_not_seen(tmp_path: Path) -> None:
    log = LossLog(tmp_path / "log.jsonl")
    for iteration in range(4):
        log.append({"iteration": iteration, "dmd": 0.5})
    with log.path.open("a") as file:
        file.write('{"iteration": 4, "dm')
    log.rewind(2)
    log.append({"iteration": 2, "dmd": 0.25})
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1, 2]
    assert lines[-1]["dmd"] == 0.25


def test_damaged_and_foreign_lines_of_a_log_are_named_and_passed_over(tmp_path: Path) -> None:
    log = LossLog(tmp_path / "log.jsonl")
    log.append({"iteration": 0, "total": 0.5})
    with log.path.open("ab") as file:
        file.write(b'{"iteration": 1, \xff"total"}\n[1]\nhello\n\n{"epoch": 3}\n')
    log.append({"iteration": 1, "total": 0.25})
    with pytest.warns(RuntimeWarning, match=r"log.jsonl:2 is no line of a run") as warned:
        assert [line["iteration"] for line in log.lines()] == [0, 1]
    named = [str(warning.message).partition(" ")[0].rpartition(":")[2] for warning in warned]
    assert named == ["2", "3", "4", "6"]
    with pytest.warns(RuntimeWarning, match="is no line of a run"):
        log.rewind(1)
    assert log.path.read_text() == '{"iteration": 0, "total": 0.5}\n'
