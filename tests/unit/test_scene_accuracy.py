import numpy as np
import pytest
import torch

from repro.worlds.mini.scene_accuracy import SceneAccuracy
from repro.worlds.mini.scenes import SceneOracle, render, sample_scene


class BrightEnough:
    """Says yes to images whose first pixel is above 99."""

    def check(self, image: np.ndarray, caption: str) -> bool:
        assert image.dtype == np.uint8
        assert image.shape[-1] == 3
        assert caption.startswith("scene")
        return bool(image[0, 0, 0] > 99)


def batch(levels: list[int], kinds: list[str]) -> tuple[torch.Tensor, list[dict[str, str]]]:
    images = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 6)
    return images, [{"caption": f"scene {i}", "kind": kind} for i, kind in enumerate(kinds)]


def test_accuracy_over_all_and_by_kind() -> None:
    metric = SceneAccuracy(BrightEnough())
    hits = metric.update(*batch([200, 0, 200], ["single", "count", "count"]))
    np.testing.assert_array_equal(hits, [1, 0, 1])
    metric.update(*batch([200], ["single"]))
    estimates = metric.compute()
    assert {key: (estimate.value, estimate.n) for key, estimate in estimates.items()} == {
        "scene_accuracy": (0.75, 4),
        "scene_accuracy_count": (0.5, 2),
        "scene_accuracy_single": (1.0, 2),
    }


def test_wilson_interval_at_the_edge() -> None:
    """With n of n right the lower bound is n / (n + z^2), the upper one 1."""
    metric = SceneAccuracy(BrightEnough())
    metric.update(*batch([200] * 10, ["single"] * 10))
    estimate = metric.compute()["scene_accuracy"]
    assert estimate.ci_low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert estimate.ci_high == pytest.approx(1)


def test_the_mini_world_passes_its_own_oracle_and_fails_with_captions_swapped() -> None:
    scenes = [sample_scene(seed, "single") for seed in range(6)]
    images = torch.stack([torch.from_numpy(render(scene)).permute(2, 0, 1) for scene in scenes])
    captions = [scene.caption for scene in scenes]
    metric = SceneAccuracy(SceneOracle())
    right = metric.update(images, [{"caption": caption, "kind": "single"} for caption in captions])
    other = [next(c for c in captions if c != caption) for caption in captions]
    wrong = metric.update(images, [{"caption": caption, "kind": "single"} for caption in other])
    assert right.mean() == 1
    assert wrong.mean() == 0
