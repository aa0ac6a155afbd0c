"""Output folders have one holder, whom a crash releases and whom the second is told of."""

import multiprocessing
import os
import re
import shutil
import signal
import time
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from training_world import cache, config, fresh_accelerate

from repro.stages.work import Leases, work_through
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.errors import OutputFolderError
from swd.locks import holding
from swd.training import train

FORK = multiprocessing.get_context("fork")


def hold(folder: Path, held: Event) -> None:
    with holding(folder):
        held.set()
        time.sleep(60)


def test_a_holder_of_a_folder_that_was_made_again_leaves_the_lock_of_its_next(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with holding(folder):
        shutil.rmtree(folder)
        with ExitStack() as later:
            later.enter_context(holding(folder))
            first = later.pop_all()
    with first, pytest.raises(OutputFolderError, match="is in use by process"), holding(folder):
        pass


def test_the_second_is_told_who_holds_a_folder_until_the_first_is_killed(tmp_path: Path) -> None:
    folder, held = tmp_path / "run", FORK.Event()
    first = FORK.Process(target=hold, args=(folder, held))
    first.start()
    assert held.wait(10)
    message = rf"{folder} is in use by process {first.pid} on \S+ since \d{{4}}-\d\d-\d\d [\d:]+ UTC: wait"
    with pytest.raises(OutputFolderError, match=message), holding(folder):
        pytest.fail("held twice")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join(10)
    with holding(folder):
        assert str(os.getpid()) in (folder / ".held").read_text()
    assert not list(folder.iterdir())


def test_processes_of_one_run_hold_shares_of_their_own(tmp_path: Path) -> None:
    mine = f"process {os.getpid()}"
    with holding(tmp_path), holding(tmp_path, 1), pytest.raises(OutputFolderError, match=mine), holding(tmp_path, 1):
        pytest.fail("held twice")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = re.escape(f"cannot write to {tmp_path}/file/run")
    with pytest.raises(OutputFolderError, match=message), holding(tmp_path / "file" / "run"):
        pytest.fail("held")


def test_a_training_holds_its_folder(tmp_path: Path, tiny_denoiser: SD3Denoiser) -> None:
    options, taken = config(iterations=1), pytest.raises(OutputFolderError, match="is in use by process")
    with fresh_accelerate(), holding(tmp_path / "run"), taken:
        train(options, tiny_denoiser, cache(), tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())  # not a file of the second


def test_whoever_waits_for_a_shard_is_told_whom_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Leases(tmp_path / "leases", beat=0.02).claim("a")
    assert other is not None
    polls = iter(range(4))
    leases = Leases(tmp_path / "leases", poll=0.01, notice=0.0)
    with other:
        work_through({"a": 1}, leases, done=lambda _: next(polls) >= 3, do=lambda _: pytest.fail("ours"))
    told = capsys.readouterr().err
    assert re.fullmatch(rf"waiting for {tmp_path}, a: process {os.getpid()} on \S+ since .* UTC\n", told)
