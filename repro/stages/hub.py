"""Models of the Hub on this machine: where they are, and which they are."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from repro.harness.files import digest_json
from repro.harness.systems import HubFile, System
from repro.metrics import weights

PIPELINE = "model_index.json"
_STEM = "(diffusion_pytorch_model|pytorch_model|model)"  # of the weights of diffusers and transformers
_WEIGHTS = weights.WEIGHT_SUFFIXES
_PLAIN = frozenset({".json", ".txt", ".model"})
_ANY = _WEIGHTS | _PLAIN  # not pictures and pages


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
    other = f"*/*model-?????-of-?????{f'.{variant}' if variant else ''}.safetensors"
    return [
        PIPELINE,
        "*/*.json",
        f"*/*.txt|{PIPELINE}",  # of tokenizers, as the next; a pipeline that has none is no less whole
        f"*/*.model|{PIPELINE}",
        f"*/*{kind}.safetensors|*/*model.safetensors|*/*model.bin",
        f"*/*{kind}-?????-of-?????.safetensors|{other}|{PIPELINE}",
    ]


def files_of(system: System, source: HubFile) -> list[str] | None:
    """What of a source a system reads; None for all."""
    return pipeline_files(system.variant) if source == system.base else None


def digest(place: Path, *, variant: str | None = None) -> str:
    """SHA-256 over names and contents of the files that are loaded from a place."""
    base = place.parent if place.is_file() else place
    found = {file.relative_to(base).as_posix(): weights.digest(file) for file in loaded_files(place, variant=variant)}
    return digest_json(found)


def loaded_files(place: Path, *, variant: str | None = None) -> list[Path]:
    """What is loaded from a file, the folder of a pipeline, of one network, or any other; sorted.

    What else lies there must not matter: a published repository holds the same weights as a single file, in half
    precision and for other frameworks, and any command may download them later.

    Args:
        place: file or folder.
        variant: of the weight files of a pipeline or network, such as "fp16"; those without one take its place.
    """
    if place.is_file():
        return [place]
    if (index := place / PIPELINE).is_file():
        parts = [place / name for name in _components(index)]
        return sorted([index, *(file for part in parts for file in _of_network(part, variant))])
    if (place / "config.json").is_file():
        return _of_network(place, variant)
    return _below(place, _ANY)


def _components(index: Path) -> list[str]:
    """Folders of a pipeline that has them: ``"vae": ["diffusers", "AutoencoderKL"]``, and ``[null, null]`` for none."""
    said = json.loads(index.read_text(encoding="utf-8"))
    return [name for name, kind in said.items() if isinstance(kind, list) and any(kind)]


def _of_network(folder: Path, variant: str | None) -> list[Path]:
    """Configs, tokenizers, and the first there is of: safetensors or pickles of the variant, then those of none."""
    plain = [file for file in _below(folder, _PLAIN) if ".index." not in file.name]
    for kind in dict.fromkeys((variant, None)):
        for suffix in ("safetensors", "bin"):
            if found := [file for file in _below(folder, _WEIGHTS) if _is_of(file.name, suffix, kind)]:
                return sorted([*plain, *found])
    return sorted([*plain, *_below(folder, _WEIGHTS)])


def _is_of(name: str, suffix: str, variant: str | None) -> bool:
    """Whether diffusers or transformers would load a file of that name: ``model-00001-of-00002.fp16.safetensors``."""
    part, own = r"(-\d{5}-of-\d{5})?", f"\\.{re.escape(variant)}" if variant else ""
    return re.fullmatch(rf"{_STEM}({own}{part}|{part}{own})\.{suffix}", name) is not None


def _below(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix in suffixes and file.is_file())
