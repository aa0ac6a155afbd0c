"""Score stage: one pass over an image set feeds every metric of the world."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from repro.harness.files import write_atomic
from repro.metrics import Estimate, EvaluationResult, Metric, evaluate, extract_features
from repro.stages.images import ImageSet
from repro.stages.store import StageStore
from repro.worlds.base import World

STAGE, REFERENCE_STAGE, VERSION = "scores", "reference", 1


def reference_features(store: StageStore, world: World, prompt_set: str, extractor: Callable[[], nn.Module]) -> Tensor:
    """Features (M, D) of the reference images of a prompt set, computed once and kept."""
    inputs = {
        "version": VERSION,
        **world.fingerprint(),
        "prompts": prompt_set,
        "count": world.profile.data.reference_images,
        "metrics": world.metric_inputs(),
    }
    path = store.folder(REFERENCE_STAGE, inputs) / "features.safetensors"
    if not store.done(REFERENCE_STAGE, inputs):
        save_file({"features": extract_features(world.reference(prompt_set), extractor())}, path)
        store.finish(REFERENCE_STAGE, inputs)
    return load_file(path)["features"]


def score_images(
    store: StageStore, images: ImageSet, metric_inputs: Mapping[str, Any], metrics: Callable[[], list[Metric]]
) -> EvaluationResult:
    """Values of an image set; measured once, read back afterwards.

    Args:
        store: where finished stages are.
        images: what is measured.
        metric_inputs: what the metrics follow from (weights, references).
        metrics: builds them; only called when the values are missing.
    """
    inputs = {"version": VERSION, "images": dict(images.inputs), "metrics": dict(metric_inputs)}
    path = store.folder(STAGE, inputs) / "values.json"
    if not store.done(STAGE, inputs):
        result = evaluate(images.batches(), metrics(), minimum=2)
        per_image = {key: values.tolist() for key, values in result.per_image.items()}
        values = {key: asdict(estimate) for key, estimate in result.values.items()}
        write_atomic(path, json.dumps({"per_image": per_image, "values": values}))
        store.finish(STAGE, inputs)
    found = json.loads(path.read_text())
    return EvaluationResult(
        per_image={key: np.array(values) for key, values in found["per_image"].items()},
        values={key: Estimate(**estimate) for key, estimate in found["values"].items()},
    )
