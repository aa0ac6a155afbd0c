"""Work in shards that any number of processes share through one file system, without a server.

A shard is claimed by creating a lease file exclusively, `<shard>.<generation>.lease`, and kept by a thread that
rewrites it (a heartbeat). A lease is over when its owner says so, when its process is gone from this machine, or when
its file has not *changed* for as long as a watcher has watched it, by the watcher's own clock: clocks of different
hosts are never compared. Taking over generation g means creating g + 1 exclusively, so of several watchers exactly one
succeeds, and a late watcher of g cannot hit the new owner. An owner that was only asleep finds g + 1 and holds nothing
any more; what it still writes must therefore never replace what is finished (`repro.stages.image_files.write_once`).

Processes need not know of each other: `accelerate launch`, a job array, or a shell started twice. Each returns when all
shards are done, whoever did them.
"""

import json
import os
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

LEASES = ".leases"  # where a stage keeps them, in its folder
BEAT_SECONDS = 10.0
PATIENCE_SECONDS = 120.0  # above the minute for which NFS may show an old file
POLL_SECONDS = 1.0
NOTICE_SECONDS = 10.0  # of waiting for others, before that is said


class ShardError(RuntimeError):
    """A shard was worked on and is still not done."""


class Lease:
    """A shard that is ours, as a context: a thread keeps it until the end, which releases it.

    Args:
        path: the lease file, created by us.
        successor: the file that somebody creates who takes over.
        beat: seconds between heartbeats.
    """

    def __init__(self, path: Path, successor: Path, beat: float) -> None:
        self._path, self._successor, self._beat = path, successor, beat
        self._token, self._since = secrets.token_hex(8), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._count = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    @property
    def held(self) -> bool:
        """Whether nobody has taken over."""
        return self._path.exists() and not self._successor.exists()

    def __enter__(self) -> Self:
        self._write(released=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._write(released=True)

    def _keep(self) -> None:
        while not self._end.wait(self._beat) and self.held:
            self._write(released=False)

    def _write(self, *, released: bool) -> None:
        self._count += 1
        who = {"owner": owner(), "since": self._since, "token": self._token}
        lease = {**who, "beat": f"{self._count:08d}", "released": int(released)}
        with (
            suppress(OSError),
            self._path.open("r+b") as stream,
        ):  # gone with the folder, or the disk is full: it expires
            stream.write(json.dumps(lease).encode())
            stream.flush()
            os.fsync(stream.fileno())


@dataclass(frozen=True)
class Leases:
    """Claims on shards by name, in a folder of their own.

    Attributes:
        folder: on a file system that all workers share.
        beat: seconds between heartbeats.
        patience: a lease that did not change for so many seconds is over; several beats long.
        poll: seconds to wait when all that is left is claimed by others.
        notice: after so many seconds of it, whoever waits is told whom for.
    """

    folder: Path
    beat: float = BEAT_SECONDS
    patience: float = PATIENCE_SECONDS
    poll: float = POLL_SECONDS
    notice: float = NOTICE_SECONDS
    _seen: dict[str, tuple[tuple[int, bytes], float]] = field(default_factory=dict, repr=False)

    def claim(self, name: str) -> Lease | None:
        """The shard's lease, to be entered at once; None while it is another's."""
        generation = self._latest(name)
        if generation < 0:
            return self._create(name, 0)
        content = self._read(name, generation)
        if content is None or not (_is_over(content) or self._unchanged(name, (generation, content))):
            return None
        return self._create(name, generation + 1)

    def holder(self, name: str) -> str:
        """Who has claimed a shard last, and since when, for a reader."""
        content = self._read(name, self._latest(name)) or b""
        try:
            lease = json.loads(content)
            return f"process {lease['owner']['pid']} on {lease['owner']['host']} since {lease['since']}"
        except (ValueError, KeyError, TypeError):
            return "another process"

    def remove(self) -> None:
        """Forget all leases; only when every shard is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str, generation: int) -> Path:
        return self.folder / f"{name}.{generation:04d}.lease"

    def _latest(self, name: str) -> int:
        found = self.folder.glob(f"{name}.*.lease")
        return max((int(path.name.split(".")[-2]) for path in found), default=-1)

    def _create(self, name: str, generation: int) -> Lease | None:
        path = self._path(name, generation)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return None
        return Lease(path, self._path(name, generation + 1), self.beat)

    def _read(self, name: str, generation: int) -> bytes | None:
        try:
            return self._path(name, generation).read_bytes()
        except FileNotFoundError:
            return None

    def _unchanged(self, name: str, state: tuple[int, bytes]) -> bool:
        now = time.monotonic()
        last, since = self._seen.get(name, (None, now))
        if last != state:
            self._seen[name] = (state, now)
            return False
        return now - since >= self.patience


def work_through(
    shards: Mapping[str, int],
    leases: Leases,
    *,
    done: Callable[[str], bool],
    do: Callable[[str], None],
    label: str = "",
    unit: str = "image",
) -> None:
    """Do what is not done, together with whoever else works on the same; return when all is done.

    Args:
        shards: how many items each shard has, by its name, which becomes a file name.
        leases: claims; removed at the end.
        done: whether a shard is finished, by what lies on disk.
        do: finishes a shard; the very last thing it does makes ``done`` true.
        label: for the bar, which there is not without one; it shows items per second and time left, over all workers.
        unit: what an item is.

    Raises:
        ShardError: a shard was worked on and is not done. What ``do`` raises passes through, its shard is released.
    """
    pending = {name: size for name, size in shards.items() if not done(name)}
    if not pending:
        return
    total = sum(shards.values())
    since, told = time.monotonic(), False
    with tqdm(
        desc=label, total=total, initial=total - sum(pending.values()), unit=unit, leave=False, disable=not label
    ) as bar:
        while pending:
            before = len(pending)
            for name in list(pending):
                if _finished(name, leases, done, do):
                    bar.update(pending.pop(name))
            if len(pending) < before:
                since, told = time.monotonic(), False
                continue
            if not told and time.monotonic() - since >= leases.notice:
                told = True
                name = next(iter(pending))
                tqdm.write(f"waiting for {leases.folder.parent}, {name}: {leases.holder(name)}", file=sys.stderr)
            time.sleep(leases.poll)
    leases.remove()


def _finished(name: str, leases: Leases, done: Callable[[str], bool], do: Callable[[str], None]) -> bool:
    """Whether the shard is done, by somebody or by us now; False while another has it."""
    if done(name):
        return True
    lease = leases.claim(name)
    if lease is None:
        return False
    with lease:
        if not done(name):
            do(name)
        if not done(name):
            raise ShardError(f"{name} was worked on and is still not done, in {leases.folder.parent}")
    return True


@cache
def _machine() -> str:
    """This host and boot, and the namespace that its process numbers belong to; empty where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def owner() -> dict[str, str | int]:
    """Who holds a lease, for a reader and for workers on the same machine."""
    return {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid()}


def _is_over(content: bytes) -> bool:
    """Whether an owner has released, or is known to be dead; a torn file says neither."""
    try:
        lease = json.loads(content)
        released, machine, pid = lease["released"], lease["owner"]["machine"], lease["owner"]["pid"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(released) or (machine != "" and machine == _machine() and not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
