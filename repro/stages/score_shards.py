"""What a scoring pass leaves: for each metric and shard a file of arrays, with the ids that were skipped."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from repro.harness.files import OutputError, write_atomic
from repro.metrics.base import (
    EvaluationResult,
    Metric,
    Prompt,
    Skipped,
    check_batch,
    check_keys,
    estimate_all,
    measure_batch,
)
from repro.stages.image_files import write_once
from repro.stages.image_sets import ImageSet, ImageSetError
from repro.stages.store import UNREADABLE, StageStore, tell
from swd.files import sorted_header

STAGE, VERSION = "measured", 1
FEWEST = 2  # images that estimates need


@dataclass(frozen=True)
class Pass:
    """Measures the shards of an image set that some metric has not seen yet.

    Attributes:
        store: where the arrays are.
        images: what is measured.
        metrics: keys must differ.
        versions: of libraries that values follow from.
        batch_size: images in memory at once.
    """

    store: StageStore
    images: ImageSet
    metrics: Sequence[Metric]
    versions: Mapping[str, Any] | None
    batch_size: int

    @cached_property
    def folders(self) -> dict[str, Path]:
        """Where the arrays of a metric are, by its key."""
        check_keys(self.metrics)
        return {metric.key: self.store.folder(STAGE, self._inputs(metric)) for metric in self.metrics}

    def done(self, shard: str) -> bool:
        """Whether every metric has seen a shard, and the same images of it."""
        return not self._missing(shard) and self._agree(shard)

    def measure(self, shard: str) -> None:
        """Read the images of a shard once, for all metrics that have not seen it.

        Where an image has become readable or unreadable since other metrics saw the shard, all of them see it again.
        """
        if missing := self._missing(shard):
            self._measure(shard, missing)
        if not self._agree(shard):
            tell(f"{self.images.folder}, {shard}: other images can be read than before: all metrics are measured again")
            self._measure(shard, self.metrics)

    def _measure(self, shard: str, missing: Sequence[Metric]) -> None:
        parts: dict[str, dict[str, list[np.ndarray]]] = {metric.key: {} for metric in missing}
        skipped: list[Skipped] = []
        for batch in self.images.read(shard, self.batch_size):
            skipped += batch.skipped
            if batch.images:
                check_batch(batch.images, batch.prompts)
                for metric in missing:
                    for name, values in measure_batch(batch.images, batch.prompts, [metric]).items():
                        parts[metric.key].setdefault(name, []).append(values)
            del batch  # before the next is read
        for metric in missing:
            write_arrays(self._path(metric, shard), parts[metric.key], skipped)

    def result(self) -> EvaluationResult:
        """Estimates, and values per image with NaN where one was skipped.

        Raises:
            ImageSetError: fewer than two images were measured; says why the others were not.
        """
        measured = ShardedMeasured(self.images, tuple(self.folders.values()))
        if len(measured.prompts) < FEWEST:
            why = "".join(f"; {lost.id}: {lost.reason}" for lost in measured.skipped[:3])
            counts = f"{len(measured.prompts)} of {len(self.images.prompts)} images"
            raise ImageSetError(f"{self.images.folder}: {counts} can be measured, at least {FEWEST} are needed{why}")
        found = estimate_all(measured, self.metrics, names=list(measured.places))
        per_image = {name: measured.spread(values) for name, values in found.per_image.items()}
        inputs = {metric.key: metric.inputs() for metric in self.metrics}
        return EvaluationResult(per_image, found.values, measured.skipped, inputs)

    def _inputs(self, metric: Metric) -> dict[str, Any]:
        return {
            "version": VERSION,
            "images": dict(self.images.inputs),
            "metric": metric.key,
            "inputs": metric.inputs(),
            "versions": self.versions,
        }

    def _path(self, metric: Metric, shard: str) -> Path:
        return self.folders[metric.key] / f"{shard}.safetensors"

    def _missing(self, shard: str) -> list[Metric]:
        return [metric for metric in self.metrics if skipped_of(self._path(metric, shard)) is None]

    def _agree(self, shard: str) -> bool:
        """Whether all metrics have left out the same images of a shard."""
        return len({ids_of(skipped_of(self._path(metric, shard)) or ()) for metric in self.metrics}) <= 1


@dataclass(frozen=True)
class ShardedMeasured:
    """`repro.metrics.base.Measured` on disk: a shard in memory at a time.

    Attributes:
        images: what was measured.
        folders: of the metrics' arrays.
    """

    images: ImageSet
    folders: tuple[Path, ...]

    @cached_property
    def places(self) -> dict[str, Path]:
        """The folder of every array."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for shard in self.images.shards:
                with safe_open(folder / f"{shard}.safetensors", framework="np") as file:
                    for name in list(file.keys()):
                        if found.setdefault(name, folder) != folder:
                            raise ValueError(f"two metrics give {name!r}")
        return found

    @cached_property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that were left out, in order."""
        found: list[Skipped] = []
        for shard in self.images.shards:
            with safe_open(self.folders[0] / f"{shard}.safetensors", framework="np") as file:  # all agree on it
                found += _skipped(file.metadata())
        return tuple(found)

    @cached_property
    def prompts(self) -> Sequence[Prompt]:
        """Of the images that were measured."""
        lost = {skipped.id for skipped in self.skipped}
        return [prompt for prompt in self.images.prompts if prompt["id"] not in lost]

    def column(self, name: str) -> np.ndarray:
        """All entries of an array, (N, ...)."""
        return np.concatenate(list(self.blocks(name)))

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The entries of an array, shard by shard."""
        for shard in self.images.shards:
            with safe_open(self.places[name] / f"{shard}.safetensors", framework="np") as file:
                if name in list(file.keys()):  # none where all images of the shard were skipped
                    yield file.get_tensor(name)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the measured images at the places of their prompts; NaN elsewhere."""
        lost = {skipped.id for skipped in self.skipped}
        kept = [prompt["id"] not in lost for prompt in self.images.prompts]
        full = np.full(len(kept), np.nan)
        full[np.array(kept)] = values
        return full


def write_arrays(path: Path, parts: Mapping[str, Sequence[np.ndarray]], skipped: Sequence[Skipped]) -> None:
    """The arrays of a shard with a hash of all that the file says, whole or not at all.

    Whole ones of the same images stay: values may follow from them, and whoever writes so late was taken for dead.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    arrays = {name: np.ascontiguousarray(np.concatenate(batches)) for name, batches in parts.items()}
    lost = json.dumps([asdict(one) for one in skipped])
    data = save(arrays, {"skipped": lost, "sha256": digest_arrays(arrays, lost)})
    end = 8 + int.from_bytes(data[:8], "little")
    data = data[:8] + sorted_header(data[8:end]) + data[end:]  # equal arrays make equal files
    there = skipped_of(path)
    if there is not None and ids_of(there) != ids_of(skipped):
        write_atomic(path, data)
        return
    try:
        if there is None:  # nothing, or a damaged file
            path.unlink(missing_ok=True)
        write_once(path, data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def ids_of(skipped: Sequence[Skipped]) -> tuple[str, ...]:
    """Which images were left out."""
    return tuple(lost.id for lost in skipped)


def digest_arrays(arrays: Mapping[str, np.ndarray], skipped: str) -> str:
    """SHA-256, hexadecimal, over names, types, shapes and bytes of arrays, and the text of what was skipped."""
    found = hashlib.sha256(skipped.encode())
    for name, values in sorted(arrays.items()):
        found.update(f"{name} {values.dtype.str} {values.shape}".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def skipped_of(path: Path) -> tuple[Skipped, ...] | None:
    """What was left out of a shard's file; None where that is not there, or not what was written.

    One that is not is named, once in each state. A file is hashed when it is first seen, and again only where its date
    or size changed. Files of before there were hashes need only be readable.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return _read_skipped(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=65536)
def _read_skipped(path: Path, changed: int, size: int) -> tuple[Skipped, ...] | None:
    """What was left out of a file of this date and size; None where it is damaged."""
    try:
        with safe_open(path, framework="np") as file:
            facts = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in list(file.keys())} if "sha256" in facts else {}
        if "sha256" not in facts or digest_arrays(arrays, facts["skipped"]) == facts["sha256"]:
            return _skipped(facts)
        damage = "is not what was written (another SHA-256)"
    except UNREADABLE as error:
        damage = f"cannot be read ({error})"
    tell(f"{path} {damage}: its images are measured again")
    return None


def _skipped(facts: Mapping[str, str]) -> tuple[Skipped, ...]:
    return tuple(Skipped(**lost) for lost in json.loads(facts["skipped"]))
