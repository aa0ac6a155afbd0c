"""Where the weights of a metric lie: a file, a folder, or a name on the Hugging Face hub.

A name is looked up in the local cache first and downloaded only if it is not there, so a node without a network works
once `hf download` has run. Whatever is found is checked before a model is built: both transformers and open_clip go on
with random weights where a file is missing, and a truncated download or a Git LFS pointer fails much later.
"""

import json
import re
import shlex
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import list_repo_files, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open

from repro.harness.files import digest_file
from repro.metrics.base import WeightsError
from swd.errors import reason

WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth"})
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a model's card asks for: its licence, and whether the hub wants it accepted before a download."""

    licence: str
    gated: bool = False

    def __str__(self) -> str:
        return f"{self.licence}; {'accept it on the page of the model, then `hf auth login`' if self.gated else 'open'}"


TERMS = {
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": Terms("MIT"),
    "zai-org/ImageReward": Terms("Apache-2.0"),
    "THUDM/ImageReward": Terms("Apache-2.0"),
    "google-bert/bert-base-uncased": Terms("Apache-2.0"),
    "stabilityai/stable-diffusion-3.5-medium": Terms("Stability AI Community License", gated=True),
    "stabilityai/stable-diffusion-3.5-large": Terms("Stability AI Community License", gated=True),
    "stabilityai/stable-diffusion-3.5-large-turbo": Terms("Stability AI Community License", gated=True),
    "black-forest-labs/FLUX.1-dev": Terms("FLUX.1 [dev] Non-Commercial License", gated=True),
}
"""Terms by hub name, as pages and repositories of the models stated them in 2026, for messages before the hub is asked.
What counts is the page of the model; what is not here is unknown, not free."""


def resolve(source: str, *, revision: str | None, files: Sequence[str] | None = None) -> Path:
    """Find weights and check that they are whole.

    Args:
        source: path of a file or folder, or a name on the hub.
        revision: branch, tag or commit, of a name on the hub.
        files: glob patterns in the folder, each of which must match a file; alternatives are divided by ``|``, the
            first that matches is taken. Of a name on the hub, only these are downloaded. None: all, some of it weights.

    Returns:
        The file or folder. Of a hub name, the folder of its snapshot.

    Raises:
        WeightsError: nothing there, not to be had, or a file that is missing or truncated.
    """
    path = Path(source).expanduser()
    if path.exists():
        if revision is not None:
            raise WeightsError(f"{source} is a path and has no revision, got {revision!r}")
        check(path, files)
        return path
    if not HUB_NAME.fullmatch(source):
        raise WeightsError(f"no such file or folder: {source}")
    folder = _cached(source, revision, files) or _download(source, revision, files)
    check(folder, files, advice=f" Get it: {command(source, revision, files)}")
    return folder


def command(name: str, revision: str | None = None, files: Sequence[str] | None = None) -> str:
    """The command that downloads what `resolve` looks for; a remark where it is no name of the hub."""
    if not HUB_NAME.fullmatch(name):
        return f"# {name} is a path of this machine: put it there, or name another"
    words = ["hf", "download", name]
    words += ["--revision", revision] if revision else []
    for pattern in files or ():
        words += ["--include", pattern.split("|")[0]]
    return shlex.join(words)


def check(path: Path, files: Sequence[str] | None = None, *, advice: str = "") -> None:
    """Refuse a path where files are missing or truncated; a file is checked alone.

    Raises:
        WeightsError: names the file and what is wrong with it, and ends with ``advice``.
    """
    try:
        for file in [path] if path.is_file() else _wanted(path, files):
            _check_file(file)
    except WeightsError as error:
        raise WeightsError(f"{error}{advice}") from error


def digests(folder: Path, files: Sequence[str]) -> dict[str, str]:
    """SHA-256 of the files that the patterns match, by name; the hub's cache knows it from the name of the blob."""
    return {path.name: digest(path) for path in _wanted(folder, files)}


def first_match(names: Iterable[str], pattern: str) -> list[str]:
    """Names that match the first alternative of a pattern which matches any."""
    names = sorted(names)
    for alternative in pattern.split("|"):
        if matching := [name for name in names if fnmatch(name, alternative)]:
            return matching
    return []


def is_cached(name: str, revision: str | None = None, file: str = "") -> bool:
    """Whether a model of the hub, or one file of it, is in the local cache."""
    return bool(HUB_NAME.fullmatch(name)) and _cached(name, revision, [file] if file else None) is not None


def _cached(name: str, revision: str | None, files: Sequence[str] | None) -> Path | None:
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    wanted = files or ["|".join(f"*{suffix}" for suffix in sorted(WEIGHT_SUFFIXES))]
    return folder if all(first_match(names, pattern) for pattern in wanted) else None


def _download(name: str, revision: str | None, files: Sequence[str] | None) -> Path:
    try:
        wanted = None
        if files is not None:
            there = list_repo_files(name, revision=revision)
            wanted = [match for pattern in files for match in first_match(there, pattern)]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, HFValidationError, OSError) as error:
        terms = f" Terms: {TERMS[name]}." if name in TERMS else ""
        raise WeightsError(
            f"cannot get {name}: {_reason(error, revision)}.{terms} Get it: {command(name, revision, files)}"
        ) from error


def _reason(error: Exception, revision: str | None) -> str:
    match error:
        case GatedRepoError():  # before RepositoryNotFoundError, whose child it is
            return "it is gated: accept its terms on the page of the model, then `hf auth login`"
        case RepositoryNotFoundError():
            return "the hub has no model of that name, or it is private"
        case RevisionNotFoundError():
            return f"it has no revision {revision!r}"
        case OfflineModeIsEnabled() | LocalEntryNotFoundError():
            return "it is not in the local cache and the hub is out of reach"
        case _:
            return str(error).splitlines()[0] if str(error) else type(error).__name__


def _wanted(folder: Path, files: Sequence[str] | None) -> list[Path]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if files is None:
        if not any(Path(name).suffix in WEIGHT_SUFFIXES for name in names):
            raise WeightsError(f"no weights in {folder}: expected a file {' or '.join(sorted(WEIGHT_SUFFIXES))}.")
        checked = (*WEIGHT_SUFFIXES, ".index.json")
        return [folder / name for name in sorted(names) if name.endswith(checked)]
    missing = [pattern for pattern in files if not first_match(names, pattern)]
    if missing:
        raise WeightsError(f"missing in {folder}: {', '.join(missing).replace('|', ' or ')}.")
    return [folder / name for pattern in files for name in first_match(names, pattern)]


def _check_file(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        raise WeightsError(f"{path} is empty: 0 bytes.")
    with path.open("rb") as stream:
        start = stream.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise WeightsError(f"{path} is a Git LFS pointer of {size} bytes, not the file: `git lfs pull` gets it.")
    if path.suffix == ".safetensors":
        _check_safetensors(path)
    elif path.suffix in WEIGHT_SUFFIXES and start[:2] == b"PK" and not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is truncated: {size} bytes, and the end of the archive is not there.")
    elif path.name.endswith(".index.json"):
        _check_index(path)


def _check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy"):  # compares the header's offsets with the size of the file
            pass
    except SafetensorError as error:
        raise WeightsError(f"{path} is truncated or no safetensors: {path.stat().st_size} bytes, {error}.") from error


def _check_index(path: Path) -> None:
    try:
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path} is no index of weights: {reason(error)}.") from error
    for name in sorted(names):
        if not (path.parent / name).is_file():
            raise WeightsError(f"{path.name} names {name}, which is missing in {path.parent}.")
        _check_file(path.parent / name)


def digest(path: Path) -> str:
    """SHA-256 of a file; the hub's cache knows that of a large one from the name of its blob."""
    blob = path.resolve()
    known = blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name)
    return blob.name if known else digest_file(path)
