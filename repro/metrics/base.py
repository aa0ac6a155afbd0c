"""What a metric is, and the one pass over the images that feeds them all.

A metric sees every image once. Metrics with a value per image (CLIP score, scene accuracy) give it back, so that
claims can be tested by resampling prompts; metrics of a whole set (FID) keep what they need and answer at the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import stats
from torch import Tensor, uint8

Prompt = Mapping[str, Any]
"""At least ``caption``; ``kind`` where scene accuracy is asked for."""

CONFIDENCE = 0.95


class WeightsError(RuntimeError):
    """A weight file is missing, truncated or not the one that the metric was defined with."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval over ``n`` images; the bounds are None where ``n`` is too small for one."""

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What one pass measured.

    ``per_image`` holds an array of shape ``(num_images,)``, in the order of the images, for each metric that scores
    single images. ``values`` holds every estimate: of those metrics, of their parts, and of whole-set metrics.
    """

    per_image: dict[str, np.ndarray]
    values: dict[str, Estimate]


class Metric(Protocol):
    """A measurement over images and their prompts, usable again after ``reset``."""

    key: str

    def reset(self) -> None:
        """Forget the images seen so far (a reference set stays)."""
        ...

    def update(self, images: Tensor, prompts: Sequence[Prompt]) -> np.ndarray | None:
        """See one batch.

        Args:
            images: uint8, (B, 3, H, W).
            prompts: one per image.

        Returns:
            One value per image, (B,), or None where single images have none.
        """
        ...

    def compute(self) -> dict[str, Estimate]:
        """Estimates over all images seen, by record key."""
        ...


def evaluate(
    batches: Iterable[tuple[Tensor, Sequence[Prompt]]], metrics: Sequence[Metric], *, minimum: int = 1
) -> EvaluationResult:
    """Run every metric in a single pass; how the images are cut into batches does not matter.

    Args:
        batches: pairs of uint8 images (B, 3, H, W) and their B prompts.
        metrics: keys must differ.
        minimum: fewer images than this are an error.

    Raises:
        ValueError: for a batch of another dtype or shape, too few images, or two metrics of one key.
    """
    keys = [metric.key for metric in metrics]
    if len(set(keys)) != len(keys):
        raise ValueError(f"metrics need keys of their own, got {keys}")
    for metric in metrics:
        metric.reset()
    collected: dict[str, list[np.ndarray]] = {}
    num_images = 0
    for images, prompts in batches:
        check_batch(images, prompts)
        num_images += len(images)
        for metric in metrics:
            if (scores := metric.update(images, prompts)) is not None:
                collected.setdefault(metric.key, []).append(scores)
    if num_images < minimum:
        raise ValueError(f"{num_images} images to evaluate, at least {minimum} are needed")
    values = {key: estimate for metric in metrics for key, estimate in metric.compute().items()}
    return EvaluationResult({key: np.concatenate(parts) for key, parts in collected.items()}, values)


def check_batch(images: Tensor, prompts: Sequence[Prompt]) -> None:
    """Refuse what is not a batch of uint8 RGB images (B, 3, H, W) with one prompt each."""
    if images.dtype != uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 of shape (B, 3, H, W), got {images.dtype} of {tuple(images.shape)}")
    if len(images) != len(prompts):
        raise ValueError(f"{len(images)} images but {len(prompts)} prompts")


def mean_estimate(scores: np.ndarray) -> Estimate:
    """Mean of per-image scores (N,) with Student's t interval."""
    mean, n = float(np.mean(scores, dtype=np.float64)), len(scores)
    if n < 2:
        return Estimate(mean, None, None, n)
    half = t_quantile(n - 1) * float(np.std(scores, ddof=1, dtype=np.float64)) / n**0.5
    return Estimate(mean, mean - half, mean + half, n)


def share_estimate(hits: np.ndarray) -> Estimate:
    """Share of true entries in (N,) with Wilson's interval, which stays inside [0, 1] and works at 0 and 1."""
    n = len(hits)
    interval = stats.binomtest(int(np.sum(hits)), n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(float(np.mean(hits)), float(interval.low), float(interval.high), n)


def t_quantile(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))
