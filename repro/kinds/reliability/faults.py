"""Faults to inject: processes to kill, files to damage, disks to fill."""

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, sleep
from typing import Any

SECONDS = 120.0  # after which a process hangs, on the busiest of machines
WORKERS = ["repro.kinds.reliability.training", "repro.kinds.reliability.scoring"]
PAUSED, GO, LOG = ".paused", ".go", ".log"  # beside the folder of a run


class FaultError(AssertionError):
    """A disturbed run did not go on as it should; the message says how."""


class UnavailableError(Exception):
    """A fault that cannot be injected here; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a fault, each time of which the run went on to the bits of an undisturbed one.

    Attributes:
        injected: how often it was.
        repeated: finished steps or shards that were done a second time.
    """

    injected: int
    repeated: int


def start(work: Callable[..., None], folder: Path, **how: Any) -> BaseProcess:
    """Work in a process of its own, forked from one that has imported torch and run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WORKERS)
    process = context.Process(target=work, args=(folder,), kwargs=how)
    process.start()
    return process


def ended(process: BaseProcess, *statuses: int) -> int:
    """Wait for the end of a process; its exit status.

    Raises:
        FaultError: it hangs, or ends with another status than those.
    """
    process.join(SECONDS)
    if process.is_alive():
        kill(process)
        raise FaultError(f"a run did not end within {SECONDS:.0f} s")
    if process.exitcode not in statuses:
        raise FaultError(f"a run ended with status {process.exitcode}, expected {' or '.join(map(str, statuses))}")
    return int(process.exitcode or 0)


def kill(process: BaseProcess) -> None:
    """End a process by SIGKILL, and wait for it."""
    process.kill()
    process.join()


def start_paused(work: Callable[..., None], folder: Path, after: int, **how: Any) -> BaseProcess:
    """Start work, and wait until it pauses: after so many iterations or batches.

    Raises:
        FaultError: it ended before, or hangs.
    """
    process = start(work, folder, pause_after=after, **how)
    end, path = monotonic() + SECONDS, beside(folder, PAUSED)
    while not path.exists():
        if not process.is_alive() or monotonic() > end:
            raise FaultError(f"a run ended with status {process.exitcode} before it paused")
        sleep(0.005)
    path.unlink()
    return process


def pause(folder: Path) -> None:
    """Wait, in a run, to be let go on."""
    beside(folder, PAUSED).touch()
    go, end = beside(folder, GO), monotonic() + SECONDS
    while not go.exists() and monotonic() < end:
        sleep(0.005)


def let_go(folder: Path) -> None:
    """Let a run that pauses go on."""
    beside(folder, GO).touch()


def beside(folder: Path, ending: str) -> Path:
    """A file beside a folder, by the folder's name and an ending."""
    return folder.with_name(f"{folder.name}{ending}")


def cut(path: Path) -> None:
    """Take the second half of a file away."""
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    """Have zeros in the second half of a file, as after a power cut."""
    size = path.stat().st_size
    cut(path)
    os.truncate(path, size)


def flip(path: Path) -> None:
    """Flip a bit of the last bytes of a file."""
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-2, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def in_last_line(damage: Callable[[Path], None], path: Path) -> None:
    """Damage the last line of a file, and no other."""
    *kept, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(last)
    damage(path)
    path.write_bytes(b"".join([*kept, path.read_bytes()]))


def remove(path: Path) -> None:
    """Remove a file."""
    path.unlink()


DAMAGES: tuple[Callable[[Path], None], ...] = (cut, zero, flip, remove)


@contextmanager
def small_disk(folder: Path, mebibytes: int = 16) -> Iterator[None]:
    """Have a disk of this size in memory at ``folder``.

    Raises:
        UnavailableError: only root can, and not in every container.
    """
    folder.mkdir(parents=True)
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise UnavailableError("a small disk can be mounted by root alone")
    _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def remount(folder: Path, mode: str) -> None:
    """Make a mounted disk ``ro`` or ``rw``."""
    _mount("-o", f"remount,{mode}", str(folder))


def _mount(*words: str) -> None:
    try:
        done = subprocess.run(["mount", *words], check=False, capture_output=True, text=True)
    except OSError as error:
        raise UnavailableError(f"a small disk cannot be mounted: {error}") from error
    if done.returncode:
        raise UnavailableError(f"a small disk cannot be mounted: {done.stderr.strip()}")


def fill(folder: Path) -> Path:
    """Fill the disk of a folder to the last byte; the file that does."""
    path = folder / ".filling"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            while _fits(file.fileno(), size):
                pass
    return path


def _fits(handle: int, size: int) -> bool:
    try:
        return os.write(handle, bytes(size)) == size
    except OSError:
        return False
