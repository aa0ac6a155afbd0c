"""What records hold of a number's spread: values of single images, or replicates over groups of captions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from repro.harness.inference import Array, Effects, of_images, of_replicates
from repro.harness.schema import CAPTIONS, PerImage, RecordError, RecordSet


def without_group(metric: str, prompts: str, seed: int) -> str:
    """A number of a whole set without each group of captions in turn: a series over the replicates of a jackknife.

    Args:
        metric: the number.
        prompts: the set of prompts.
        seed: of the training.
    """
    return f"{metric} without one group, {prompts}, seed {seed}"


def captions_of(records: RecordSet, prompts: str) -> NDArray[np.int64] | None:
    """Caption of every image of a set, (P,); None where they were not recorded."""
    found = records.values(CAPTIONS, prompts, CAPTIONS)
    return np.array(found[0].values, dtype=float).astype(np.int64) if found else None


def image_values(lines: Sequence[PerImage]) -> Array:
    """Values per image of every training seed, (S, P), NaN where there is none.

    Raises:
        RecordError: training seeds have different numbers of images.
    """
    if len({len(line.values) for line in lines}) > 1:
        where = f"{lines[0].variant} {lines[0].prompts} {lines[0].metric}"
        raise RecordError(f"{where}: training seeds have different numbers of images")
    return np.array([[np.nan if value is None else value for value in line.values] for line in lines], dtype=float)


def effects_of_values(values: Array, captions: NDArray[np.int64] | None, seeds: Sequence[int]) -> Effects | None:
    """Of means over images; None where a seed has no value, or all images that have are of one caption.

    Args:
        values: a value per image, (S, P), NaN where there is none.
        captions: of each image, (P,); None where each has its own.
        seeds: of the training, (S,).
    """
    groups = np.arange(values.shape[1]) if captions is None else captions
    known = np.isfinite(values)
    if not known.any(axis=1).all() or len(np.unique(groups[known.any(axis=0)])) < 2:
        return None
    return of_images(values, groups, seeds)


def effects_of_images(records: RecordSet, variant: str, prompts: str, metric: str) -> Effects | None:
    """From values per image; None without them.

    Raises:
        RecordError: training seeds have different numbers of images.
    """
    lines = records.values(variant, prompts, metric)
    if not lines:
        return None
    return effects_of_values(image_values(lines), captions_of(records, prompts), [line.seed for line in lines])


def effects_of_sets(records: RecordSet, variant: str, prompts: str, metric: str) -> Effects | None:
    """From numbers of the whole set and their replicates, of every training seed; None where one has none.

    Raises:
        RecordError: training seeds have different numbers of replicates.
    """
    found = [record for record in records.find(variant, prompts, metric) if record.value is not None]
    lines = [records.find_series(variant, without_group(metric, prompts, record.seed)) for record in found]
    replicates = [line.values for line in lines if line is not None]
    if not found or len(replicates) < len(found) or len(replicates[0]) < 2:
        return None
    if len({len(values) for values in replicates}) > 1:
        raise RecordError(f"{variant} {prompts} {metric}: training seeds have different numbers of replicates")
    values = np.array([record.value for record in found], dtype=float)
    return of_replicates(values, np.array(replicates), [record.seed for record in found], found[0].n)
