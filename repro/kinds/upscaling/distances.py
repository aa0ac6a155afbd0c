"""The distance of a row's images to real ones, with replicates that pair rows: each leaves the same images out.

| where | metric | replicates |
|---|---|---|
| the mini world | FID-E, of features in memory | 20 groups of captions |
| profiles of published models | FID, of features on disk, shard by shard | 12 cells of images, by their ids |
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from repro.harness.experiment import Column
from repro.harness.files import write_atomic
from repro.harness.provenance import versions
from repro.kinds.upscaling.declare import distance_column
from repro.metrics import Estimate, Prompt, WeightsError
from repro.metrics.base import Skipped, pixels
from repro.metrics.distances import FeatureDistances
from repro.metrics.fid import Reference, extract_features, frechet_distance, jackknife
from repro.metrics.frechet import Fid, cells_of
from repro.metrics.jackknife import GROUPS, groups_of_captions
from repro.stages.images import ImageSet, ImageSetError
from repro.stages.measurement import Measurement
from repro.stages.references import StoredReferences
from repro.stages.score_shards import Pass, ShardedMeasured
from repro.stages.work import LEASES, Leases, work_through
from swd.files import write_tensors

STAGE, VERSION = "features", 1
FEWEST = 4  # images that have an interval


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance, the distances without each block of images in turn, and the images that are in none of them."""

    estimate: Estimate
    replicates: Sequence[float]
    skipped: Sequence[Skipped] = ()


class Distances(Protocol):
    """The metric of a profile that compares distributions."""

    def prepare(self) -> None:
        """Read and measure the real images, so that what is wrong with one is known before any work."""
        ...

    def of(self, images: ImageSet) -> Distance:
        """Of finished images; what was measured is kept."""
        ...

    def inputs(self) -> dict[str, Any]:
        """What distances follow from, by metric, as far as it says so itself."""
        ...


def distances(measurement: Measurement[Any, Any]) -> Distances:
    """The distance of a measurement's profile: of the world itself, or a metric that the profile names."""
    return OfMetric(measurement) if measurement.profile.scorers else OfWorld(measurement)


@dataclass(frozen=True)
class OfWorld:
    """FID-E against the real images of all prompt sets through the VAE; every image counts."""

    measurement: Measurement[Any, Any]

    def inputs(self) -> dict[str, Any]:
        """None: all of it ships."""
        return {}

    def prepare(self) -> None:
        """Real images are drawn: nothing can be wrong with them."""

    def of(self, images: ImageSet) -> Distance:
        """From features in memory.

        Raises:
            ImageSetError: an image cannot be read.
        """
        sample = self._reference.sample(self._features(images))
        distance = partial(frechet_distance, self._reference)
        groups = groups_of(images.prompts)
        estimate = jackknife(sample, distance, distance(sample), groups)
        return Distance(estimate, estimate.replicates)

    @cached_property
    def _reference(self) -> Reference:
        own = self.measurement
        references = StoredReferences(own.store, own.world, own.device)
        names = [prompts.key for prompts in own.profile.prompt_sets]
        return Reference.of(torch.cat([references.decoded_features(name, lambda: own.extractor) for name in names]))

    def _features(self, images: ImageSet) -> Tensor:
        own = self.measurement
        inputs = {"version": VERSION, "images": dict(images.inputs), "metrics": own.world.metric_inputs()}
        path = own.store.folder(STAGE, inputs) / "features.safetensors"

        def encode() -> None:
            batches = (pixels(batch) for batch, _ in images.batches())
            write_tensors(path, {"features": extract_features(batches, own.extractor)})

        make = partial(own.store.once, STAGE, inputs, encode, files=(path.name,))
        return own.store.read(STAGE, inputs, make, lambda: load_file(path)["features"])


def groups_of(prompts: Sequence[Prompt]) -> np.ndarray:
    """Group of each image, (N,): 20 random groups of captions, or one for each caption where there are fewer.

    Kinds of scenes take turns in the set, so every 20th image would be of one kind.
    """
    captions = [str(prompt["caption"]) for prompt in prompts]
    return groups_of_captions(captions, min(GROUPS, len(set(captions))))


@dataclass(frozen=True)
class OfMetric:
    """FID as the profile declares it; an image that cannot be read is left out, and its cell goes on without it."""

    measurement: Measurement[Any, Any]

    def inputs(self) -> dict[str, Any]:
        """Network, recipe, weights and real images."""
        metric, _ = self._metric
        return {metric.key: metric.inputs()}

    def prepare(self) -> None:
        """Measure the real images."""
        _ = self._metric

    def of(self, images: ImageSet) -> Distance:
        """From features on disk, which any number of processes measure together."""
        own = self.measurement
        metric, fid = self._metric
        libraries = versions(("torch", "torchvision"))
        inputs = {"version": VERSION, "images": dict(images.inputs), "metric": metric.inputs(), "versions": libraries}
        path = own.store.folder(STAGE, inputs) / "distance.json"

        def measure() -> None:
            found = Pass(own.store, images, [metric], libraries, own.execution.batch_size)
            sizes = {shard: len(part) for shard, part in images.shards.items()}
            work_through(sizes, Leases(path.parent / LEASES), done=found.done, do=found.measure, label=metric.key)
            features = found.folders[metric.key]
            compare = partial(paired, fid, metric.name, images, features)
            own.store.once(STAGE, inputs, lambda: _write(path, compare()), files=(path.name,))

        return own.store.read(STAGE, inputs, measure, lambda: _read(path))

    @cached_property
    def _metric(self) -> tuple[FeatureDistances, Fid]:
        own = self.measurement
        column, (prompts,) = distance_column(own.profile), own.profile.prompt_sets
        for metric in own.world.metrics(prompts.key, own.device, StoredReferences(own.store, own.world, own.device)):
            if isinstance(metric, FeatureDistances) and metric.key == column.key:
                return metric, _frechet(metric, column)
        raise WeightsError(f"profile {own.profile.name} has no metric {column.key} of features, which this compares")


def paired(fid: Fid, name: str, images: ImageSet, features: Path) -> Distance:
    """The distance of measured features.

    Args:
        fid: to real images.
        name: of the features.
        images: that were measured; cells are dealt to all of them, so that a skipped one moves no other.
        features: folder of the arrays.

    Raises:
        ImageSetError: fewer than four images could be measured; says why the others were not.
    """
    measured = ShardedMeasured(images, (features,))
    lost = {skipped.id for skipped in measured.skipped}
    kept = np.array([prompt["id"] not in lost for prompt in images.prompts])
    if kept.sum() < FEWEST:
        why = "; ".join(f"{skipped.id}: {skipped.reason}" for skipped in measured.skipped[:3])
        counts = f"{kept.sum()} of {len(kept)} images can be measured"
        raise ImageSetError(
            f"{images.folder}: {counts}, at least {FEWEST} are needed for an interval ({why or 'no more'})"
        )
    estimate, replicates = fid.paired(measured, name, cells_of(images.prompts)[kept])
    return Distance(estimate, replicates, measured.skipped)


def _frechet(metric: FeatureDistances, column: Column) -> Fid:
    fid = metric.distance(column.key)
    if not isinstance(fid, Fid):
        raise WeightsError(f"{column.key} is no Frechet distance, which pairs rows by its cells")
    return fid


def _write(path: Path, distance: Distance) -> None:
    write_atomic(path, json.dumps(asdict(distance)))


def _read(path: Path) -> Distance:
    found = json.loads(path.read_text(encoding="utf-8"))
    skipped = tuple(Skipped(**lost) for lost in found.get("skipped", ()))
    return Distance(Estimate(**found["estimate"]), found["replicates"], skipped)
