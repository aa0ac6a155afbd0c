"""Scene accuracy: shares at several choices of the smallest fit, against the oracle asked one by one."""

import numpy as np
import pytest
from PIL import Image

from repro.metrics import evaluate
from repro.worlds.mini.scene_accuracy import FITS, SceneAccuracy
from repro.worlds.mini.scenes import SceneOracle, render, sample_scene


class Brightness:
    """Fits as well as the first pixel is bright; black images fit nowhere."""

    min_fit = 0.6

    def fit(self, image: np.ndarray, caption: str) -> float:
        assert image.dtype == np.uint8
        assert image.shape[-1] == 3
        assert caption.startswith("scene")
        return image[0, 0, 0] / 100 if image[0, 0, 0] else float("nan")


def batch(levels: list[int]) -> tuple[list[Image.Image], list[dict[str, str]]]:
    images = [Image.new("RGB", (6, 4), (level, level, level)) for level in levels]
    return images, [{"caption": f"scene {i}"} for i in range(len(levels))]


def test_accuracy_at_every_choice_of_the_fit() -> None:
    metric = SceneAccuracy(Brightness())
    first = batch([90, 0, 62])
    np.testing.assert_array_equal(metric.measure(*first)["scene_accuracy"], [1, 0, 1])
    result = evaluate([first, batch([55])], [metric])
    assert {key: (found.value, found.n) for key, found in result.values.items()} == {
        "scene_accuracy": (0.5, 4),
        "scene_accuracy_050": (0.75, 4),
        "scene_accuracy_065": (0.25, 4),
        "scene_accuracy_070": (0.25, 4),
    }
    assert set(result.per_image) == {"scene_accuracy"}


def test_one_reading_says_what_oracles_of_every_choice_say() -> None:
    """Scenes squeezed to half their side and less, where some objects lose their shapes."""
    scenes = [sample_scene(seed) for seed in range(60)]
    small = [Image.fromarray(render(scene)).resize((18 + 2 * (i % 6),) * 2) for i, scene in enumerate(scenes)]
    images = [image.resize((64, 64)) for image in small]
    fits = SceneAccuracy().measure(images, [{"caption": scene.caption} for scene in scenes])["scene_accuracy.fits"]
    for choice in (SceneOracle().min_fit, *FITS):
        asked = [
            SceneOracle(min_fit=choice).check(np.asarray(image), scene.caption)
            for image, scene in zip(images, scenes, strict=True)
        ]
        assert (fits >= choice).tolist() == asked
        assert 0 < sum(asked) < 60


def test_the_mini_world_passes_its_own_oracle_and_fails_with_captions_swapped() -> None:
    scenes = [sample_scene(seed, "single") for seed in range(6)]
    images = [Image.fromarray(render(scene)) for scene in scenes]
    captions = [scene.caption for scene in scenes]
    metric = SceneAccuracy(SceneOracle())
    right = metric.measure(images, [{"caption": caption} for caption in captions])["scene_accuracy"]
    other = [next(c for c in captions if c != caption) for caption in captions]
    wrong = metric.measure(images, [{"caption": caption} for caption in other])
    assert right.mean() == 1
    assert wrong["scene_accuracy"].mean() == 0
    assert np.isnan(wrong["scene_accuracy.fits"]).all()


def test_choices_are_part_of_what_values_follow_from() -> None:
    assert SceneAccuracy().inputs() != SceneAccuracy(SceneOracle(min_fit=0.5)).inputs()
    assert SceneAccuracy().inputs()["min_fit"] == pytest.approx([0.6, 0.5, 0.65, 0.7])
