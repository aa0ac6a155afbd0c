import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repro.metrics.base import WeightsError, evaluate
from repro.metrics.distances import FeatureDistances
from repro.metrics.diversity import Diversity
from repro.metrics.frechet import Fid
from repro.metrics.kid import Kid
from repro.metrics.reference import build_reference


class Thumbnails:
    """27 pixels of a 3 x 3 thumbnail; counts the images that it saw."""

    name = "thumbnails"
    dimensions = 27

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.seen += len(images)
        small = [np.asarray(image.resize((3, 3), Image.Resampling.BOX), dtype=np.float32) for image in images]
        return np.stack(small).reshape(len(images), 27) / 255

    def inputs(self) -> dict[str, Any]:
        return {"network": self.name}


class Broken(Thumbnails):
    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        features = super().__call__(images)
        features[-1, 2] = np.nan
        return features


def pictures(n: int, seed: int, low: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(low, 256, (9 + i % 4, 12, 3), dtype=np.uint8)) for i in range(n)]


def prompts(n: int) -> list[dict[str, Any]]:
    return [{"id": f"{i // 4}-{i % 4}", "prompt_id": str(i // 4), "seed": i, "caption": "x"} for i in range(n)]


def test_one_encoding_feeds_all_and_batches_do_not_matter(tmp_path: Any) -> None:
    features = Thumbnails()
    reference = build_reference([pictures(90, 1)], features, tmp_path / "reference.npz")
    metric = FeatureDistances(features, [Fid(reference), Kid(reference, size=30), Diversity()], key="fid")
    images, named = pictures(80, 2, low=40), prompts(80)
    features.seen = 0
    results = []
    for size in (80, 7):
        batches = [(images[i : i + size], named[i : i + size]) for i in range(0, 80, size)]
        results.append(evaluate(batches, [metric]))
    assert features.seen == 160
    one, other = results
    assert set(one.values) == {"fid", "fid_inf", "kid", "diversity"}
    assert one.per_image == {}
    for key, estimate in one.values.items():
        assert other.values[key].value == pytest.approx(estimate.value, rel=1e-6)
        assert other.values[key].ci_low == pytest.approx(estimate.ci_low, rel=1e-5)
    assert one.values["fid"].value > 0.01
    assert one.values["kid"].value > 0


def test_features_that_are_not_finite_name_the_image() -> None:
    metric = FeatureDistances(Broken(), [Diversity()], key="diversity")
    with pytest.raises(WeightsError, match=r"diversity: features of image 1-3 are not finite \(thumbnails\)"):
        metric.measure(pictures(8, 1), prompts(8))


def test_inputs_are_plain_data(tmp_path: Any) -> None:
    features = Thumbnails()
    reference = build_reference([pictures(9, 1)], features, tmp_path / "reference.npz")
    metric = FeatureDistances(features, [Fid(reference), Kid(reference)], key="fid")
    inputs = json.loads(json.dumps(metric.inputs()))
    assert inputs["features"] == {"network": "thumbnails"}
    assert set(inputs["distances"]) == {"fid", "kid"}
    assert inputs["distances"]["fid"]["reference"]["images"] == 9


def test_distances_need_keys_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"fid needs distances with keys of their own, got \[\]"):
        FeatureDistances(Thumbnails(), [], key="fid")
    with pytest.raises(ValueError, match=r"got \['diversity', 'diversity'\]"):
        FeatureDistances(Thumbnails(), [Diversity(), Diversity()], key="fid")
