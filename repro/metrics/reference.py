"""What images are compared with: moments of real images' features, and the features where a distance asks for them.

Three files of one stem: ``reference.npz`` with ``mu`` (D,) and ``sigma`` (D, D) as pytorch-fid, clean-fid and EDM
write them, ``reference.f32`` with the features, row by row, and ``reference.json`` with what they follow from. The
npz alone, as others publish it, is enough for FID; torch-fidelity's cache (.pt, a dict of the same two arrays) is
read too. Nothing is unpickled.
"""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from repro.harness.files import digest_file, write_atomic

UNREADABLE = (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError)
ASYMMETRY = 1e-5
"""Largest |S - S^T| beside the largest |S| that rounding in float32 explains."""


class ReferenceFileError(ValueError):
    """Reference statistics are missing, broken, or of other features than the images'."""


class Features(Protocol):
    """A network that turns RGB images of any size into features (B, D)."""

    name: str
    dimensions: int

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Encode one batch, (B, D) float32; what an image gets does not depend on the others."""
        ...

    def inputs(self) -> dict[str, Any]:
        """What features follow from: network, recipe, hash of the weights."""
        ...


@dataclass(frozen=True, slots=True)
class Reference:
    """Statistics of real images.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, with N - 1.
        count: images they are of; None where the file does not say.
        features: (N, D) float32, on disk until read; None where only moments are known.
        sha256: of the file of moments.
        made_from: `Features.inputs` they were made with; None where the file does not say.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None
    features: np.ndarray | None
    sha256: str
    made_from: Mapping[str, Any] | None

    def inputs(self) -> dict[str, Any]:
        """Which statistics these are, for keys and records."""
        return {"sha256": self.sha256, "images": self.count, "recipe_known": self.made_from is not None}

    def checked(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks, each of the reference's dimension.

        Raises:
            ValueError: a block has another, or is not finite.
        """
        for block in blocks:
            if block.ndim != 2 or block.shape[1] != len(self.mean):
                raise ValueError(f"features of shape {block.shape}, the reference has {len(self.mean)} dimensions")
            if not np.isfinite(block).all():
                raise ValueError(f"{int((~np.isfinite(block)).any(1).sum())} of {len(block)} features are not finite")
            yield block

    def needed_features(self, key: str) -> np.ndarray:
        """The features, for a distance that moments do not determine.

        Raises:
            ReferenceFileError: there are only moments.
        """
        if self.features is None:
            raise ReferenceFileError(f"{key} compares features; the reference {self.sha256[:8]} has only mu and sigma")
        return self.features


def build_reference(batches: Iterable[Sequence[Image.Image]], features: Features, path: Path) -> Reference:
    """Measure real images, batch by batch, and keep the three files.

    Args:
        batches: RGB images.
        features: what encodes them; generated images must get the same.
        path: ``.npz`` to write; ``.f32`` and ``.json`` stand beside it.

    Raises:
        ReferenceFileError: fewer than two images, or features that are not finite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".f32.part")
    with partial.open("wb") as stream:
        for images in batches:
            block = np.ascontiguousarray(features(images), dtype=np.float32)
            if not np.isfinite(block).all():
                raise ReferenceFileError(f"features of reference images are not finite ({features.name})")
            stream.write(block.tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    rows = _rows(partial, features.dimensions)
    if len(rows) < 2:
        raise ReferenceFileError(f"a reference needs at least 2 images, got {len(rows)}")
    mean, covariance = moments(rows)
    partial.replace(path.with_suffix(".f32"))
    archive = io.BytesIO()
    np.savez(archive, mu=mean, sigma=covariance)
    write_atomic(path, archive.getvalue())
    record = {"count": len(rows), "features": features.inputs(), "moments_sha256": digest_file(path)}
    write_atomic(path.with_suffix(".json"), json.dumps(record, indent=2, sort_keys=True))
    return load_reference(path, features)


def moments(rows: np.ndarray, *, block: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) in float64 of features (N, D) that may lie on disk, read in blocks."""
    parts = [slice(start, start + block) for start in range(0, len(rows), block)]
    mean = sum(rows[part].sum(0, dtype=np.float64) for part in parts) / len(rows)
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for part in parts:
        centred = torch.from_numpy(rows[part] - mean)
        scatter += (centred.T @ centred).numpy()
    return mean, scatter / (len(rows) - 1)


def load_reference(path: Path, features: Features) -> Reference:
    """Read statistics and refuse those of other features.

    Args:
        path: ``.npz``, or ``.pt`` of torch-fidelity.
        features: what encodes the images that will be compared.

    Raises:
        ReferenceFileError: the file is missing, broken, of another dimension, not finite, not a covariance, or was made
            with another network, recipe or weights.
    """
    if not path.is_file():
        raise ReferenceFileError(f"no reference statistics at {path}")
    mean, covariance = _read(path)
    check_moments(mean, covariance, features.dimensions, path)
    sha256, record = digest_file(path), _record(path)
    if record and record["moments_sha256"] != sha256:
        raise ReferenceFileError(f"{path} was changed after {path.stem}.json was written: sha256 {sha256[:8]}")
    if record:
        check_made_from(record["features"], features.inputs(), path)
    rows = path.with_suffix(".f32")
    theirs = _rows(rows, features.dimensions) if record and rows.is_file() else None
    if theirs is not None and len(theirs) != record["count"]:
        raise ReferenceFileError(f"{rows} holds {len(theirs)} features, {record['count']} were written")
    return Reference(mean, covariance, record.get("count"), theirs, sha256, record.get("features"))


def check_moments(mean: np.ndarray, covariance: np.ndarray, dimensions: int, path: Path) -> None:
    """Refuse what is no mean and covariance of ``dimensions`` features."""
    shapes = (mean.shape, covariance.shape)
    if shapes != ((dimensions,), (dimensions, dimensions)):
        raise ReferenceFileError(
            f"{path}: mu {shapes[0]} and sigma {shapes[1]}, but features have {dimensions} dimensions"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ReferenceFileError(f"{path}: mu or sigma is not finite")
    gap, largest = np.abs(covariance - covariance.T).max(), np.abs(covariance).max()
    if gap > ASYMMETRY * largest:
        raise ReferenceFileError(f"{path}: sigma is not symmetric, |S - S^T| reaches {gap:.3g} (|S|: {largest:.3g})")
    if covariance.diagonal().min() < 0:
        raise ReferenceFileError(f"{path}: sigma has a negative variance, {covariance.diagonal().min():.3g}")


def check_made_from(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: Path) -> None:
    """Refuse statistics that were made with another network, recipe or weights, by the first that differs."""
    theirs, ours = _flat(theirs), _flat(json.loads(json.dumps(ours)))
    for name in sorted(theirs.keys() | ours.keys(), key=lambda name: (not name.endswith(".name"), name)):
        if theirs.get(name) != ours.get(name):
            raise ReferenceFileError(
                f"{path} was made with {name} {theirs.get(name)!r}, images with {ours.get(name)!r}"
            )


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        arrays = _read_torch(path) if path.suffix in {".pt", ".pth"} else _read_npz(path)
        return np.asarray(arrays["mu"], dtype=np.float64), np.asarray(arrays["sigma"], dtype=np.float64)
    except UNREADABLE as error:
        raise ReferenceFileError(f"cannot read reference statistics from {path}: {error}") from error
    except KeyError as error:
        raise ReferenceFileError(f"{path} has no {error.args[0]!r}, expected arrays mu and sigma") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in ("mu", "sigma") if name in arrays}


def _read_torch(path: Path) -> Mapping[str, Any]:
    numpy_types = [np.ndarray, np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType, *_constructors()]
    with torch.serialization.safe_globals(numpy_types):
        found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping):
        raise ValueError(f"a {type(found).__name__}, expected a dict")
    return found


def _constructors() -> list[Any]:
    """What numpy arrays name in a torch file; they build an array and nothing else. The module moved in numpy 2."""
    core = np._core if hasattr(np, "_core") else np.core
    return [(core.multiarray._reconstruct, f"numpy.{part}.multiarray._reconstruct") for part in ("core", "_core")]


def _record(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        record: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        if not {"count", "features", "moments_sha256"} <= record.keys():
            raise ValueError(f"only {sorted(record)}")
    except (ValueError, AttributeError) as error:
        raise ReferenceFileError(f"{beside} is no record of reference statistics: {error}") from error
    return record


def _rows(path: Path, dimensions: int) -> np.ndarray:
    size = path.stat().st_size
    if size % (4 * dimensions):
        raise ReferenceFileError(f"{path} is truncated: {size} bytes are no rows of {dimensions} float32")
    if size == 0:
        return np.empty((0, dimensions), dtype=np.float32)
    return np.memmap(path, dtype=np.float32, mode="r", shape=(size // (4 * dimensions), dimensions))
