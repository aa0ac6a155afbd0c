"""Files of the Hub on this machine: where they are, which they are, and how to get what is missing."""

from collections.abc import Callable, Iterable
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_file, digest_json
from repro.harness.systems import HubFile

_SHA256 = 64  # characters: how the Hub's cache names the content of a large file


def find(source: HubFile, root: Path) -> Path | None:
    """Where a file or folder is, without asking the network; None where it is not.

    Args:
        source: of the Hub's cache, or of this machine: then relative to ``root``, or absolute.
        root: the checkout.
    """
    folder = root / source.repo
    if not folder.exists():
        try:
            folder = Path(snapshot_download(source.repo, revision=source.revision, local_files_only=True))
        except (LocalEntryNotFoundError, ValueError, OSError):
            return None
    place = folder / source.file if source.file else folder
    return place if place.exists() else None


def command(source: HubFile) -> str:
    """What a user types to get it."""
    revision = f" --revision {source.revision}" if source.revision else ""
    return f"hf download {source.repo}{f' {source.file}' if source.file else ''}{revision}"


def require(source: HubFile, root: Path, *, why: str = "", licence: str = "") -> Path:
    """Where a file or folder is.

    Raises:
        ExperimentError: it is not on this machine; the message says what gets it.
    """
    if (place := find(source, root)) is not None:
        return place
    asks = f" ({licence})" if licence else ""
    purpose = f", which {why} needs," if why else ""
    raise ExperimentError(f"{source}{purpose} is not on this machine{asks}; get it with: {command(source)}")


def digest(place: Path, wanted: Callable[[Path], bool] = lambda file: True) -> str:
    """SHA-256 over names and contents of a file, or of the wanted files below a folder.

    The Hub's cache names large files by their SHA-256: those are not read again.
    """
    files: Iterable[Path] = [place] if place.is_file() else sorted(filter(Path.is_file, place.rglob("*")))
    base = place.parent if place.is_file() else place
    return digest_json({file.relative_to(base).as_posix(): _content(file) for file in files if wanted(file)})


def _content(file: Path) -> str:
    name = file.resolve().name if file.is_symlink() else ""
    return name if len(name) == _SHA256 else digest_file(file)
