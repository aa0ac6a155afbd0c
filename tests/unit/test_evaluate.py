from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from repro.metrics.base import Estimate, EstimateError, Measured, Prompt, evaluate, mean_estimate, pictures, pixels


class MeanLevel:
    """Mean of each image; as a metric of the whole set it gives no values per image."""

    def __init__(self, key: str, *, per_image: bool = True) -> None:
        self.key, self.name = key, key if per_image else f"{key}.levels"

    def inputs(self) -> dict[str, Any]:
        return {"formula": "mean"}

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        return {self.name: np.array([np.asarray(image, dtype=np.float64).mean() for image in images])}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        levels = np.concatenate(list(measured.blocks(self.name)))
        return {self.key: mean_estimate(levels), "prompts": mean_estimate(np.array([len(measured.prompts)]))}


def batches(images: list[Image.Image], size: int) -> list[tuple[list[Image.Image], list[Prompt]]]:
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return [(part, [{"caption": "a"}] * len(part)) for part in parts]


@pytest.fixture
def images() -> list[Image.Image]:
    """Seven images of two sizes."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (4, 4 + i // 5, 3), dtype=np.uint8)) for i in range(7)]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_one_pass_feeds_all_and_batches_do_not_matter(images: list[Image.Image], size: int) -> None:
    each, whole = MeanLevel("each"), MeanLevel("whole", per_image=False)
    result = evaluate(iter(batches(images, size)), [each, whole])
    expected = np.array([np.asarray(image).mean() for image in images])
    assert set(result.per_image) == {"each"}
    np.testing.assert_allclose(result.per_image["each"], expected)
    assert result.values["whole"].value == pytest.approx(expected.mean())
    assert result.values["each"] == result.values["whole"]
    assert result.values["prompts"].value == 7


def test_mean_interval_is_students() -> None:
    scores = np.array([0.1, 0.4, 0.2, 0.9])
    interval = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    estimate = mean_estimate(scores)
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda images: [([image.convert("L") for image in images], [{}] * 7)], "must be RGB, got mode L"),
        (lambda images: [(images, [{}] * 6)], "7 images but 6 prompts"),
        (lambda images: [], "0 images to evaluate, at least 1"),
    ],
)
def test_bad_batches_are_errors(images: list[Image.Image], bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(bad(images), [MeanLevel("each")])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (MeanLevel("a", per_image=False), "keys of their own, got \\['a', 'a'\\]"),
        (MeanLevel("b"), "two metrics give 'a', the second is b"),
        (MeanLevel("c"), "c gave 3 entries of 'c' for 7 images"),
    ],
)
def test_metrics_that_cannot_be_told_apart_or_miss_images(
    images: list[Image.Image], second: MeanLevel, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if second.key == "b":
        second.name = "a"
    if second.key == "c":
        monkeypatch.setattr(second, "measure", lambda images, prompts: {"c": np.zeros(3)})
    with pytest.raises(ValueError, match=message):
        evaluate(batches(images, 7), [MeanLevel("a"), second])


def test_pixels_and_pictures_are_inverse(images: list[Image.Image]) -> None:
    stacked = pixels(images[:5])
    assert stacked.shape == (5, 3, 4, 4)
    assert [picture.tobytes() for picture in pictures(stacked)] == [image.tobytes() for image in images[:5]]
    with pytest.raises(ValueError, match=r"one size can be stacked, got \[\(4, 4\), \(5, 4\)\]"):
        pixels(images)
    with pytest.raises(ValueError, match=r"must be uint8 of shape .*, got torch\.float32"):
        pictures(torch.zeros(1, 3, 4, 4))


class Broken(MeanLevel):
    """A metric that has no number for these images."""

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        raise ValueError("none of them has a value")


def test_a_metric_without_a_number_is_named(images: list[Image.Image]) -> None:
    with pytest.raises(EstimateError, match="broken has no number for 2 images: none of them has a value"):
        evaluate([(images[:2], [{"caption": "x"}] * 2)], [Broken("broken")])
