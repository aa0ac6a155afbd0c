"""Real images of a prompt set, or their statistics: found and checked here, measured elsewhere.

Statistics are an npz with the mean ``mu`` (D,) and the covariance ``sigma`` (D, D) of features, as pytorch-fid writes
them; where ``reference.npz`` (or the SwD release's own name) lies in the benchmark's folder it wins over images.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from repro.worlds.data_folder import Benchmark
from repro.worlds.prompts.entry import PromptEntry, PromptFileError

STATISTICS = ("reference.npz", "fid_stats_*.npz")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class ReferenceImages:
    """Real images of a set, each once, by name."""

    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ReferenceStatistics:
    """An npz of mean and covariance of ``dimensions`` features."""

    path: Path
    dimensions: int


Reference = ReferenceImages | ReferenceStatistics


def find_reference(benchmark: Benchmark, data: Path, entries: Sequence[PromptEntry]) -> Reference:
    """What the images of a set are compared with.

    The images are those that the prompts name; where prompts name none, all of the folder.

    Raises:
        PromptFileError: neither images nor statistics are there, an image that is named is not, or statistics are
            broken.
    """
    folder = data / benchmark.folder
    for pattern in STATISTICS:
        if found := sorted(folder.glob(pattern)):
            return read_statistics(found[0])
    images = image_folder(benchmark, data)
    if images is None:
        raise PromptFileError(
            f"no reference images in {folder}: expected {' or '.join(benchmark.images) or 'none'} with images, or "
            f"{STATISTICS[0]} with mu and sigma. To get the images: {benchmark.images_from.format(folder=folder)} "
            f"(licence: {benchmark.licence})"
        )
    names = list(dict.fromkeys(entry.image for entry in entries if entry.image))
    return ReferenceImages(_named(images, names) if names else tuple(sorted(images_below(images))))


def image_folder(benchmark: Benchmark, data: Path) -> Path | None:
    """Where the real images of a benchmark are; None where none are."""
    places = (data / benchmark.folder / name for name in benchmark.images)
    return next((path for path in places if path.is_dir() and any(True for _ in images_below(path))), None)


def read_statistics(path: Path) -> ReferenceStatistics:
    """Check the names and shapes of an npz without reading the numbers.

    Raises:
        PromptFileError: it is no npz, truncated, lacks ``mu`` or ``sigma``, or their sizes disagree.
    """
    try:
        shapes = dict(_shapes(path))
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise PromptFileError(f"cannot read {path}: {error}; expected an npz with mu (D,) and sigma (D, D)") from error
    mu, sigma = shapes.get("mu"), shapes.get("sigma")
    if mu is None or sigma is None:
        raise PromptFileError(f"{path} holds {', '.join(shapes) or 'nothing'}; expected mu and sigma")
    if len(mu) != 1 or sigma != mu * 2:
        raise PromptFileError(f"{path}: mu is {mu} and sigma {sigma}; expected (D,) and (D, D)")
    return ReferenceStatistics(path, mu[0])


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                version = npy.read_magic(member)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, kind = read(member)
            if not np.issubdtype(kind, np.floating):
                raise ValueError(f"{name} is of {kind}")
            yield name.removesuffix(".npy"), shape


def _named(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    there = {path.relative_to(folder).with_suffix("").as_posix(): path for path in images_below(folder)}
    stems = [name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in ENDINGS else name for name in names]
    missing = [stem for stem in stems if stem not in there]
    if missing:
        raise PromptFileError(
            f"{len(missing)} of {len(stems)} images that prompts name are not in {folder}: the first is "
            f"{missing[0]} (expected one of {', '.join(missing[0] + ending for ending in ENDINGS)})"
        )
    return tuple(there[stem] for stem in stems)


def images_below(folder: Path) -> Iterator[Path]:
    """Image files, by their endings."""
    return (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
