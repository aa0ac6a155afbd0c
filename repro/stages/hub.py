"""Models of the Hub on this machine: where they are, and which they are."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from repro.harness.files import digest_json
from repro.harness.systems import HubFile, System
from repro.metrics import weights

PIPELINE = "model_index.json"


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


def require(source: HubFile, root: Path, files: Sequence[str] | None = None) -> Path:
    """Where a file or folder is; one of the Hub is downloaded where it is not in the cache.

    Args:
        source: as of `find`.
        root: likewise.
        files: patterns of what is downloaded of a whole repository, as `repro.metrics.weights.resolve` takes them.

    Raises:
        WeightsError: it is not to be had, or broken; the message says what gets it.
    """
    if (place := find(source, root)) is not None:
        weights.check(place)
        return place
    wanted = [source.file] if source.file else files
    return weights.resolve(source.repo, revision=source.revision, files=wanted) / source.file


def command(source: HubFile, files: Sequence[str] | None = None) -> str:
    """What a user types to get it, or those files of a whole repository."""
    return weights.command(source.repo, source.revision, [source.file] if source.file else files)


def pipeline_files(variant: str | None = None) -> list[str]:
    """What diffusers reads of a pipeline's repository: its component folders in one variant.

    Left are the copies in one file, in other precisions and for other programs, which are as large again.
    """
    kind = f"model.{variant}" if variant else "model"
    return [
        PIPELINE,
        "*/*.json",
        f"*/*.txt|{PIPELINE}",  # of tokenizers, as the next; a pipeline that has none is no less whole
        f"*/*.model|{PIPELINE}",
        f"*/*{kind}.safetensors|*/*model.safetensors|*/*model.bin",
        f"*/*{kind}-?????-of-?????.safetensors|{PIPELINE}",
    ]


def files_of(system: System, source: HubFile) -> list[str] | None:
    """What of a source a system reads; None for all."""
    return pipeline_files(system.variant) if source == system.base else None


def digest(place: Path, wanted: Callable[[Path], bool] = lambda file: True) -> str:
    """SHA-256 over names and contents of a file, or of the wanted files below a folder."""
    files: Iterable[Path] = [place] if place.is_file() else sorted(filter(Path.is_file, place.rglob("*")))
    base = place.parent if place.is_file() else place
    return digest_json({file.relative_to(base).as_posix(): weights.digest(file) for file in files if wanted(file)})


def is_read(file: Path) -> bool:
    """Whether a file of a pipeline can matter: weights, configs, tokenizers; not pictures, not single-file copies."""
    return file.suffix in {".safetensors", ".json", ".txt", ".model", ".bin", ".pt", ".pth"}
