import numpy as np
import pytest
from PIL import Image

from repro.metrics import evaluate
from repro.worlds.mini.scene_accuracy import SceneAccuracy
from repro.worlds.mini.scenes import SceneOracle, render, sample_scene


class BrightEnough:
    """Says yes to images whose first pixel is above 99."""

    def check(self, image: np.ndarray, caption: str) -> bool:
        assert image.dtype == np.uint8
        assert image.shape[-1] == 3
        assert caption.startswith("scene")
        return bool(image[0, 0, 0] > 99)


def batch(levels: list[int], kinds: list[str]) -> tuple[list[Image.Image], list[dict[str, str]]]:
    images = [Image.new("RGB", (6, 4), (level, level, level)) for level in levels]
    return images, [{"caption": f"scene {i}", "kind": kind} for i, kind in enumerate(kinds)]


def test_accuracy_over_all_and_by_kind() -> None:
    metric = SceneAccuracy(BrightEnough())
    first = batch([200, 0, 200], ["single", "count", "count"])
    np.testing.assert_array_equal(metric.measure(*first)["scene_accuracy"], [1, 0, 1])
    estimates = evaluate([first, batch([200], ["single"])], [metric]).values
    assert {key: (estimate.value, estimate.n) for key, estimate in estimates.items()} == {
        "scene_accuracy": (0.75, 4),
        "scene_accuracy_count": (0.5, 2),
        "scene_accuracy_single": (1.0, 2),
    }


def test_wilson_interval_at_the_edge() -> None:
    """With n of n right the lower bound is n / (n + z^2), the upper one 1."""
    metric = SceneAccuracy(BrightEnough())
    estimate = evaluate([batch([200] * 10, ["single"] * 10)], [metric]).values["scene_accuracy"]
    assert estimate.ci_low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert estimate.ci_high == pytest.approx(1)


def test_the_mini_world_passes_its_own_oracle_and_fails_with_captions_swapped() -> None:
    scenes = [sample_scene(seed, "single") for seed in range(6)]
    images = [Image.fromarray(render(scene)) for scene in scenes]
    captions = [scene.caption for scene in scenes]
    metric = SceneAccuracy(SceneOracle())
    right = metric.measure(images, [{"caption": caption, "kind": "single"} for caption in captions])["scene_accuracy"]
    other = [next(c for c in captions if c != caption) for caption in captions]
    wrong = metric.measure(images, [{"caption": caption, "kind": "single"} for caption in other])["scene_accuracy"]
    assert right.mean() == 1
    assert wrong.mean() == 0
