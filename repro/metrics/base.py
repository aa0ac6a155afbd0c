"""What a metric is, and the one pass over the images that feeds them all.

A metric sees every image once, in batches that may be cut anywhere and measured by any process: `Metric.measure` turns
images into arrays with one entry per image, and keeps nothing. `Metric.estimates` turns what a whole pass left,
`Measured`, into numbers. Metrics with a value per image (CLIP score, scene accuracy) name that array by their key, so
that claims can be tested by resampling prompts; metrics of a whole set (FID) leave features, by a name with a dot.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from PIL.Image import Image, fromarray
from scipy import stats
from torch import Tensor

Prompt = Mapping[str, Any]
"""``caption``, and ``id``, ``seed``, ``kind``, ``category`` or ``geneval`` where a metric asks for them."""

CONFIDENCE = 0.95


class EstimateError(ValueError):
    """A metric has no number for a set of images, such as of one image or of flat ones."""


class WeightsError(RuntimeError):
    """A weight file is missing, truncated or not the one that the metric was defined with."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval over ``n`` images; the bounds are None where ``n`` is too small for one.

    ``note`` is what a reader must know of it; the value is NaN where the images do not determine it, and ``note`` says
    why. ``replicates`` are those of a jackknife, in the order of its groups, for
    numbers of a whole set: the difference of two sets has the differences of their replicates.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    note: str = ""
    replicates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "replicates", tuple(self.replicates))  # JSON knows lists alone


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that was not measured, by the id of its prompt, and why."""

    id: str
    reason: str


def reasons(skipped: Sequence[Skipped], shown: int = 3) -> str:
    """Ids of the first skipped images with the reason of each, and how many more there are."""
    parts = [f"{lost.id}: {lost.reason}" for lost in skipped[:shown]]
    more = len(skipped) - len(parts)
    return "; ".join([*parts, *([f"and {more:,} more"] if more else [])])


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What one pass measured.

    ``per_image`` holds an array of shape ``(num_images,)``, in the order of the images, for each metric that scores
    single images; NaN where an image was skipped. ``values`` holds every estimate: of those metrics, of their parts,
    and of whole-set metrics. ``inputs`` are those of every metric, by its key, where they were kept.
    """

    per_image: dict[str, np.ndarray]
    values: dict[str, Estimate]
    skipped: tuple[Skipped, ...] = ()
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Measured(Protocol):
    """What a pass over images left, on disk or in memory: an entry for each image that was measured."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """Of the measured images, in order; skipped images (torn files, NaN) are left out."""
        ...

    def column(self, name: str) -> np.ndarray:
        """All entries of an array at once, (N, ...)."""
        ...

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The same piece by piece, for what should not be in memory at once."""
        ...


class Metric(Protocol):
    """A measurement of images and their prompts, without memory of the images it saw."""

    key: str

    def inputs(self) -> dict[str, Any]:
        """What the values follow from, as plain data: formula or recipe, hashes of weights and reference, version."""
        ...

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
        """Measure one batch.

        Args:
            images: RGB, of any sizes.
            prompts: one per image.

        Returns:
            Arrays by name, each (B, ...) in the order of the images. ``key``, and further names without a dot, are
            a value per image, (B,), kept in the records; a name with a dot, such as "fid.features", is not.
        """
        ...

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Estimates over all images, by record key."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryMeasured:
    """What a pass left, in memory.

    Attributes:
        prompts: one per image.
        parts: for each array its batches, in order.
    """

    prompts: Sequence[Prompt]
    parts: Mapping[str, Sequence[np.ndarray]]

    def column(self, name: str) -> np.ndarray:
        """All entries of an array, (N, ...)."""
        return np.concatenate(self.parts[name])

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The batches of an array."""
        return iter(self.parts[name])


def evaluate(
    batches: Iterable[tuple[Sequence[Image], Sequence[Prompt]]], metrics: Sequence[Metric], *, minimum: int = 1
) -> EvaluationResult:
    """Run every metric in a single pass, in memory; how the images are cut into batches does not matter.

    Args:
        batches: pairs of images and their prompts.
        metrics: keys must differ.
        minimum: fewer images than this are an error.

    Raises:
        ValueError: for images that are not RGB, too few images, or two metrics of one key.
    """
    check_keys(metrics)
    prompts: list[Prompt] = []
    parts: dict[str, list[np.ndarray]] = {}
    for images, theirs in batches:
        prompts += theirs
        for name, values in measure_batch(images, theirs, metrics).items():
            parts.setdefault(name, []).append(values)
    if len(prompts) < minimum:
        raise ValueError(f"{len(prompts)} images to evaluate, at least {minimum} are needed")
    return estimate_all(MemoryMeasured(prompts, parts), metrics, names=list(parts))


def measure_batch(
    images: Sequence[Image], prompts: Sequence[Prompt], metrics: Sequence[Metric]
) -> dict[str, np.ndarray]:
    """One batch through every metric: arrays by name, (B, ...).

    Raises:
        ValueError: an image is not RGB, the prompts are of another number, or a metric's array is, or two metrics
            give arrays of one name.
    """
    check_batch(images, prompts)
    found: dict[str, np.ndarray] = {}
    for metric in metrics:
        for name, values in metric.measure(images, prompts).items():
            if name in found:
                raise ValueError(f"two metrics give {name!r}, the second is {metric.key}")
            if len(values) != len(images):
                raise ValueError(f"{metric.key} gave {len(values)} entries of {name!r} for {len(images)} images")
            found[name] = values
    return found


def estimate_all(measured: Measured, metrics: Sequence[Metric], *, names: Sequence[str]) -> EvaluationResult:
    """Estimates of all metrics, and the values per image among the arrays of these names.

    Raises:
        EstimateError: a metric fails on these images; it is named with their count.
    """
    values = {key: estimate for metric in metrics for key, estimate in _estimates(metric, measured).items()}
    return EvaluationResult({name: measured.column(name) for name in names if "." not in name}, values)


def _estimates(metric: Metric, measured: Measured) -> dict[str, Estimate]:
    count = f"{len(measured.prompts):,} images"
    try:
        return metric.estimates(measured)
    except ValueError as error:
        raise EstimateError(f"{metric.key} has no number for {count}: {error}") from error


def finite(key: str, values: np.ndarray, prompts: Sequence[Prompt]) -> np.ndarray:
    """Values of images (B,), all of them numbers.

    Raises:
        WeightsError: one is not finite, which whole weights never give; metric and image are named.
    """
    for index in np.flatnonzero(~np.isfinite(values)).tolist():
        name = prompts[index].get("id", index)
        raise WeightsError(
            f"{key}: the score of image {name} is {values[index]}, expected a number: its weights are damaged"
        )
    return values


def check_keys(metrics: Sequence[Metric]) -> None:
    """Refuse two metrics of one key."""
    keys = [metric.key for metric in metrics]
    if len(set(keys)) != len(keys):
        raise ValueError(f"metrics need keys of their own, got {keys}")


def check_batch(images: Sequence[Image], prompts: Sequence[Prompt]) -> None:
    """Refuse what is not a batch of RGB images with one prompt each."""
    if modes := sorted({image.mode for image in images} - {"RGB"}):
        raise ValueError(f"images must be RGB, got mode {', '.join(modes)}")
    if len(images) != len(prompts):
        raise ValueError(f"{len(images)} images but {len(prompts)} prompts")


def pictures(images: Tensor) -> list[Image]:
    """Tensors (B, 3, H, W) of uint8 as RGB images."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 of shape (B, 3, H, W), got {images.dtype} of {tuple(images.shape)}")
    return [fromarray(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]


def levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8."""
    found: Tensor = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return found


def pixels(images: Sequence[Image]) -> Tensor:
    """RGB images of one size as uint8 (B, 3, H, W).

    Raises:
        ValueError: the sizes differ.
    """
    if len(sizes := {image.size for image in images}) > 1:
        raise ValueError(f"images of one size can be stacked, got {sorted(sizes)}")
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).contiguous()


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
