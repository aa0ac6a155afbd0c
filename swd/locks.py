"""One holder of an output folder at a time, by a lock that the system takes away from a process that dies.

The lock is ``flock`` on a file of the folder, ``.held``, which says who holds it and since when. It is advisory, of one
machine, or of all that share the folder where the file system passes locks on (NFS does); where it knows no locks, the
folder is used without one, and a warning says so.
"""

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from swd.errors import OutputFolderError

_LOG = logging.getLogger(__name__)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def holding(folder: Path, share: int = 0) -> Iterator[None]:
    """Hold an output folder, which is made if needed; the lock goes with the block, or with the process.

    Args:
        folder: that one run writes.
        share: which of several processes of one run this is, where each writes files of its own.

    Raises:
        OutputFolderError: another process holds it, named with its host and since when; or it cannot be written.
    """
    path = Path(folder) / (f".held-{share}" if share else ".held")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquired(path)
    except OutputFolderError:
        raise
    except OSError as error:
        raise OutputFolderError(f"cannot write to {folder}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # as where somebody removed the folder
            if _lies_at(handle, path):  # else it is of whoever made the folder again
                path.unlink()
        os.close(handle)


def _acquired(path: Path) -> int:
    """A handle of the locked file, which is the one that lies at ``path``."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(handle, path)
            if _lies_at(handle, path):  # else its holder has removed it between our two calls
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(_who()).encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            _LOG.warning(f"{path.parent} is on a file system without locks: make sure that one run alone writes it")
        elif isinstance(error, BlockingIOError):
            raise OutputFolderError(
                f"{path.parent} is in use by {_holder(path)}: wait for its end, or use another folder"
            ) from None
        else:
            raise


def _lies_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _who() -> dict[str, str | int]:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since}


def _holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # which has not yet said who it is
