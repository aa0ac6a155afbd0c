"""Canonical JSON, content digests and atomic writes: what records, stages and provenance stand on."""

import errno
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
ROOT = Path(__file__).resolve().parents[2]  # the checkout, or what the packages are installed into


class OutputError(Exception):
    """An output folder or file cannot be written; the message names it."""


def canonical_json(value: object) -> str:
    """One text per value: sorted keys, no spaces, no NaN. Dataclasses become objects, tuples lists, paths strings.

    Raises:
        TypeError: something inside is not plain data.
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def digest_json(value: object) -> str:
    """SHA-256 of the canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_folder(folder: Path) -> str:
    """SHA-256 over names and contents of all files below a folder; independent of place, dates and listing order.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_json({path.relative_to(folder).as_posix(): digest_file(path) for path in files})


def digest_code(*parts: str) -> str:
    """SHA-256 over the Python files below folders of the project, hexadecimal.

    Args:
        parts: relative to the checkout, or to what the packages are installed into.
    """
    files = sorted(path for part in parts for path in (ROOT / part).rglob("*.py"))
    return digest_json({path.relative_to(ROOT).as_posix(): digest_file(path) for path in files})


@contextmanager
def on_disk(path: Path, data: bytes) -> Iterator[Path]:
    """A file beside ``path`` whose bytes are on the disk, to be put in its place; what is left of it goes at the end.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def input_file(path: Path) -> Path:
    """A file that a user names, where it is one: a pipe or a device would be waited for.

    Raises:
        OSError: it is something else.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no file" if path.is_dir() else "it is a pipe or a device", str(path))
    return path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one and nothing between.

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old file stays.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with on_disk(path, data) as temporary:
            temporary.replace(path)
    except OSError as error:
        hint = ": free some space and run this again" if error.errno in FULL else ""
        raise OutputError(f"cannot write {path}: {error.strerror or error}{hint}") from error


INDEX = "README.md"  # of a results folder
EDITED = "Written by `python -m repro render` from the records: edits by hand are overwritten."


def refuse_foreign(index: Path) -> None:
    """Make sure that a results folder's ``README.md`` may be written: it is none of somebody else's.

    Raises:
        OutputError: `EDITED` does not stand in it, as in the README of a project.
    """
    if index.is_file() and EDITED not in index.read_text(encoding="utf-8", errors="replace"):
        raise OutputError(f"{index} is no page of measurements, and would be lost: choose another --out")


def probe_writable(folder: Path) -> None:
    """Make the folder and write a byte into it, so that a bad ``--out`` fails before long work and not after.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")
            stream.flush()
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from error


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"not plain data: {value!r} ({type(value).__name__})")
