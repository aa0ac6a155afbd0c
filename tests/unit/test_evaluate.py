from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from repro.metrics.base import Estimate, Prompt, evaluate, mean_estimate


class MeanLevel:
    """Mean of each image; as a whole-set metric it gives no values per image."""

    def __init__(self, key: str, *, per_image: bool) -> None:
        self.key, self.per_image, self.seen = key, per_image, []

    def reset(self) -> None:
        self.seen = []

    def update(self, images: Tensor, prompts: Sequence[Prompt]) -> np.ndarray | None:
        scores = images.double().mean((1, 2, 3)).numpy()
        self.seen.append(scores)
        return scores if self.per_image else None

    def compute(self) -> dict[str, Estimate]:
        return {self.key: mean_estimate(np.concatenate(self.seen))}


def batches(images: Tensor, size: int) -> list[tuple[Tensor, list[Prompt]]]:
    return [(part, [{"caption": "a"}] * len(part)) for part in images.split(size)]


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (7, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_one_pass_feeds_all_and_batches_do_not_matter(images: Tensor, size: int) -> None:
    each, whole = MeanLevel("each", per_image=True), MeanLevel("whole", per_image=False)
    each.seen = [np.zeros(1)]  # left over from the row before
    result = evaluate(iter(batches(images, size)), [each, whole])
    expected = images.numpy().mean((1, 2, 3))
    assert set(result.per_image) == {"each"}
    np.testing.assert_allclose(result.per_image["each"], expected)
    assert result.values["whole"].value == pytest.approx(expected.mean())
    assert result.values["each"] == result.values["whole"]


def test_mean_interval_is_students() -> None:
    scores = np.array([0.1, 0.4, 0.2, 0.9])
    interval = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    estimate = mean_estimate(scores)
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda images: [(images.float(), [{}] * 7)], "must be uint8"),
        (lambda images: [(images[0], [{}] * 3)], r"\(B, 3, H, W\)"),
        (lambda images: [(images.permute(0, 2, 3, 1), [{}] * 7)], r"\(B, 3, H, W\)"),
        (lambda images: [(images, [{}] * 6)], "7 images but 6 prompts"),
        (lambda images: [], "0 images to evaluate"),
    ],
)
def test_bad_batches_are_errors(images: Tensor, bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(bad(images), [MeanLevel("each", per_image=True)])


def test_two_metrics_of_one_key_are_an_error() -> None:
    with pytest.raises(ValueError, match="keys of their own"):
        evaluate([], [MeanLevel("a", per_image=True), MeanLevel("a", per_image=False)])
