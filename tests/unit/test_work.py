"""Shards that several processes share: each is done once, whoever dies; two workers never hold one."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repro.stages.work import Lease, Leases, ShardError, work_through

SHARDS = {f"shard-{index}": 1 for index in range(12)}
FORK = multiprocessing.get_context("fork")


def quick(folder: Path, *, beat: float = 0.02, patience: float = 0.3) -> Leases:
    return Leases(folder / "leases", beat=beat, patience=patience, poll=0.01)


def of_another_machine(folder: Path) -> None:
    """Make the only lease look as if a process of another host had written it."""
    (path,) = (folder / "leases").glob("*.lease")
    lease = json.loads(path.read_text())
    lease["owner"]["machine"] = "elsewhere"
    path.write_text(json.dumps(lease))


def append(folder: Path) -> Callable[[str], None]:
    """A shard's work: a line with our process in its file; more than one line means it was done twice."""

    def do(name: str) -> None:
        time.sleep(0.03)
        with (folder / name).open("a") as stream:
            stream.write(f"{os.getpid()}\n")

    return do


def run(folder: Path, count: int) -> list[str]:
    """Work through all shards in ``count`` processes; the lines of all shards."""

    start = FORK.Barrier(count)

    def work() -> None:
        start.wait(30)
        work_through(SHARDS, quick(folder, patience=30), done=lambda name: (folder / name).exists(), do=append(folder))

    workers = [FORK.Process(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * count
    return [line for name in SHARDS for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize("count", [1, 3])
def test_every_shard_is_done_once_and_every_process_returns(tmp_path: Path, count: int) -> None:
    lines = run(tmp_path, count)
    assert len(lines) == len(SHARDS)
    assert (len(set(lines)) > 1) == (count > 1)
    assert not (tmp_path / "leases").exists()


def test_of_many_claims_at_once_one_succeeds(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def claim(_: int) -> Lease | None:
        leases = quick(tmp_path)
        barrier.wait()
        return leases.claim("a")

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert sum(lease is not None for lease in pool.map(claim, range(8))) == 1
            quick(tmp_path).remove()


def test_a_beating_lease_is_never_taken_over(tmp_path: Path) -> None:
    lease, watcher = quick(tmp_path).claim("a"), quick(tmp_path, patience=0.15)
    assert lease is not None
    with lease:
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            assert watcher.claim("a") is None
            time.sleep(0.01)
        assert lease.held
    assert watcher.claim("a") is not None  # released


def test_a_silent_lease_of_another_host_is_taken_over_by_one_watcher(tmp_path: Path) -> None:
    """However its clock stands: the file's date is a day ahead, and only the watchers' own waiting counts."""
    dead = quick(tmp_path, beat=100).claim("a")
    assert dead is not None
    dead.__enter__()
    of_another_machine(tmp_path)
    (path,) = (tmp_path / "leases").glob("*.lease")
    os.utime(path, (time.time() + 86_400,) * 2)
    watchers = [quick(tmp_path, patience=0.2) for _ in range(4)]
    assert [watcher.claim("a") for watcher in watchers] == [None] * 4
    time.sleep(0.1)
    assert [watcher.claim("a") for watcher in watchers] == [None] * 4
    time.sleep(0.15)
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda watcher: watcher.claim("a"), watchers))
    (new,) = [claim for claim in claims if claim is not None]
    with new:
        assert new.held
        assert not dead.held  # it was only asleep: it finds that it holds nothing
        dead.__exit__(None, None, None)
        assert new.held
        assert quick(tmp_path).claim("a") is None  # what the sleeper writes releases nobody's lease but its own


@pytest.mark.parametrize("content", ["", '{"owner": {"ma'])
def test_a_torn_lease_is_held_until_it_has_not_changed(tmp_path: Path, content: str) -> None:
    assert quick(tmp_path).claim("a") is not None  # never entered: its owner died at once
    (path,) = (tmp_path / "leases").glob("*.lease")
    path.write_text(content)
    watcher = quick(tmp_path, patience=0.1)
    assert watcher.claim("a") is None
    time.sleep(0.12)
    assert watcher.claim("a") is not None


def test_the_shard_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    started = FORK.Event()

    def hang(name: str) -> None:
        started.set()
        time.sleep(60)

    worker = FORK.Process(
        target=lambda: work_through({"a": 1}, quick(tmp_path, patience=60), done=lambda _: False, do=hang)
    )
    worker.start()
    assert started.wait(10)
    watcher = quick(tmp_path, patience=60)
    assert watcher.claim("a") is None
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    assert watcher.claim("a") is not None


def test_an_error_passes_and_releases_its_shard(tmp_path: Path) -> None:
    def fail(name: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        work_through({"a": 1}, quick(tmp_path), done=lambda _: False, do=fail)
    assert quick(tmp_path, patience=60).claim("a") is not None


def test_work_that_leaves_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="a was worked on and is still not done"):
        work_through({"a": 1}, quick(tmp_path), done=lambda _: False, do=lambda _: None)
