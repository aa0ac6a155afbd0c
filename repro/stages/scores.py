"""Score stage: one pass over the shards of an image set feeds every metric; estimates come from what it left.

A metric's arrays of a shard are a file of their own, keyed by what they follow from. A pass therefore measures only the
metrics and shards that are missing: killed, it goes on where it was, and a metric added later is measured alone.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repro.harness.files import write_atomic
from repro.metrics import Estimate, EvaluationResult, Metric
from repro.metrics.base import Skipped
from repro.stages.image_sets import ImageSet
from repro.stages.score_shards import Pass
from repro.stages.store import StageStore
from repro.stages.work import LEASES, Leases, work_through

STAGE, VERSION = "scores", 4
BATCH = 50  # images in memory at once


def score_images(
    store: StageStore,
    images: ImageSet,
    metric_inputs: Mapping[str, Any],
    metrics: Callable[[], list[Metric]],
    *,
    batch_size: int = BATCH,
    label: str = "scores",
) -> EvaluationResult:
    """Values of an image set; measured once, read back afterwards.

    Args:
        store: where finished stages are.
        images: what is measured.
        metric_inputs: what the metrics follow from (weights, references, ``versions`` of libraries).
        metrics: builds them; only called when the values are missing.
        batch_size: images in memory at once.
        label: for the progress bar.

    Raises:
        ImageSetError: fewer than two images can be measured.
    """
    inputs = {"version": VERSION, "images": dict(images.inputs), "metrics": dict(metric_inputs)}
    path = store.folder(STAGE, inputs) / "values.json"

    def measure() -> None:
        found = Pass(store, images, metrics(), metric_inputs.get("versions"), batch_size)
        sizes = {shard: len(part) for shard, part in images.shards.items()}
        work_through(sizes, Leases(path.parent / LEASES), done=found.done, do=found.measure, label=label)
        write = partial(_write_values, path, found, images)
        store.once(STAGE, inputs, write, files=(path.name,))

    return store.read(STAGE, inputs, measure, lambda: _unpacked(json.loads(path.read_text())))


def _write_values(path: Path, found: Pass, images: ImageSet) -> None:
    """Estimates of what a pass measured, atomically."""
    write_atomic(path, _packed(found.result(), images))


def _packed(result: EvaluationResult, images: ImageSet) -> str:
    """The result as JSON: a value for each id, null where the image was skipped."""
    found = {
        "ids": [prompt["id"] for prompt in images.prompts],
        "per_image": {
            key: [None if np.isnan(value) else float(value) for value in values]
            for key, values in result.per_image.items()
        },
        "values": {key: asdict(estimate) for key, estimate in result.values.items()},
        "skipped": [asdict(lost) for lost in result.skipped],
        "inputs": dict(result.inputs),
    }
    return json.dumps(found)


def _unpacked(found: Mapping[str, Any]) -> EvaluationResult:
    return EvaluationResult(
        per_image={key: np.array(values, dtype=np.float64) for key, values in found["per_image"].items()},
        values={key: Estimate(**estimate) for key, estimate in found["values"].items()},
        skipped=tuple(Skipped(**lost) for lost in found["skipped"]),
        inputs=found.get("inputs", {}),
    )
