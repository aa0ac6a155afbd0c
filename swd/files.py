"""Atomic files: a reader sees the old file, the new file, or none, never half of one."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from swd.errors import OutputFolderError

PROBE_BYTES = 1 << 16
MIB = 1 << 20
CHECKSUMS = "SHA256SUMS"
PARTIAL = ".partial"
STALE = 24 * 3600.0  # seconds


def probe_writable(folder: Path, needed_bytes: int) -> None:
    """Make ``folder`` and write to it once, so that a bad path or a full disk is found before the long work.

    Raises:
        OutputFolderError: the folder cannot be made or written, or less than ``needed_bytes`` are free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputFolderError(f"cannot write to {folder}: {error.strerror or error}") from error
    if free < needed_bytes:
        raise OutputFolderError(
            f"{folder} needs about {-(-needed_bytes // MIB)} MiB, but only {free // MIB} MiB are free on that disk"
        )


def sweep(folder: Path) -> None:
    """Remove files that a killed process left half written in ``folder``, a day ago or longer."""
    for path in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError):  # somebody else's
            if path.is_file() and time.time() - path.stat().st_mtime > STALE:
                path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever keeps the block from writing ``path``, a full disk above all, becomes an OutputFolderError."""
    try:
        yield
    except OutputFolderError:
        raise
    except (OSError, SafetensorError) as error:  # safetensors wraps the system's errors
        raise OutputFolderError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Save ``tensors`` as safetensors, atomically and flushed to disk."""
    with _replacing(path) as temporary:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_tensors(temporary, plain, metadata)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Save ``tensors`` as safetensors: equal tensors and metadata make equal files, byte for byte.

    safetensors itself writes the metadata in an order that differs from one call to the next, and since 0.8 makes files
    that only their owner can read; these have the mode of any other new file.
    """
    path.touch()
    mode = path.stat().st_mode & 0o777
    save_file(dict(tensors), path, metadata=dict(metadata or {}))
    path.chmod(mode)
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        text = sorted_header(file.read(size))
        file.seek(8)
        file.write(text)


def sorted_header(text: bytes) -> bytes:
    """The header of a safetensors file, of the same length, with its metadata in order."""
    header: dict[str, Any] = json.loads(text)
    if "__metadata__" not in header:
        return text
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    found = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(found) <= len(text), "a header is not written as safetensors writes it"
    return found.ljust(len(text))


def write_json(path: Path, value: Any) -> None:
    """Save ``value`` as JSON, atomically and flushed to disk."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Save ``text``, atomically and flushed to disk."""
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of the files in ``folder``, as ``sha256sum --check`` reads it."""
    lines = (f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != CHECKSUMS)
    write_text(folder / CHECKSUMS, "".join(lines))


def check_checksums(folder: Path) -> None:
    """Compare the files of ``folder`` with its ``SHA256SUMS``; a folder of before there were any passes.

    Raises:
        OSError: a file of the list is not there.
        ValueError: the list is damaged, or a file is not what was written; the message names it.
    """
    if not (folder / CHECKSUMS).exists():
        return
    for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        wanted, separator, name = line.partition("  ")
        if not separator or Path(name).name != name:
            raise ValueError(f"{CHECKSUMS} is damaged")
        if _sha256(folder / name) != wanted:
            raise ValueError(f"{name} is not what was written: its SHA-256 is another")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``folder`` at the end; an exception or a kill leaves no ``folder``."""
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(folder):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            sync_folder(temporary)
            if folder.exists():  # only ever a torn or outdated one
                shutil.rmtree(folder)
            os.replace(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names inside ``folder``: a rename is durable only after its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")  # two may write the same file
    try:
        with writing(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
