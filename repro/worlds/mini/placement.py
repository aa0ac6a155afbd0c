"""Placement: how much the places of objects vary between images of one caption, which distillation may cost.

A scene puts each object near a slot that its caption fixes, up to 0.06 of the side away. An image's objects are matched
with the slots of their caption; the variance of what is left, over images of one caption, averaged over x, y and
objects, is the placement variance of that caption. Its root is shown, in percent of the side: 3.5 for scenes, 0 for a
model that draws every caption in one way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from repro.metrics.base import Measured
from repro.metrics.trials import Statistic
from repro.worlds.mini.scenes import parse_caption, slots_of


@dataclass(frozen=True, slots=True)
class Spread:
    """Placement variance of one caption, from ``images`` images."""

    variance: float
    images: int


def spreads(places: np.ndarray, captions: Sequence[str]) -> dict[str, Spread]:
    """Placement variance of every caption that two images show with the same object in place.

    Args:
        places: (N, 4, 2), centres of captioned objects in fractions of the side; NaN where there is none.
        captions: of each image.
    """
    members: dict[str, list[int]] = {}
    for index, caption in enumerate(captions):
        members.setdefault(caption, []).append(index)
    found = {}
    for caption, rows in members.items():
        offsets = np.stack([offsets_from_slots(places[row], caption) for row in rows])  # (n, K, 2)
        counts = (~np.isnan(offsets[..., 0])).sum(0)
        if (counts > 1).any():
            found[caption] = Spread(float(np.nanvar(offsets[:, counts > 1], axis=0, ddof=1).mean()), len(rows))
    return found


def offsets_from_slots(places: np.ndarray, caption: str) -> np.ndarray:
    """Where the objects of one image lie beside their slots, (K, 2); NaN for a slot without an object.

    Objects of a count are alike, so each goes to the slot that makes the sum of distances smallest.
    """
    meaning = parse_caption(caption)
    slots = slots_of(meaning)
    here = places[: len(slots)]
    offsets = np.full(slots.shape, np.nan)
    seen = np.flatnonzero(~np.isnan(here[:, 0]))
    if meaning.kind == "count":
        distance = np.linalg.norm(here[seen][:, None] - slots[None], axis=-1)
        rows, columns = linear_sum_assignment(distance)
        offsets[columns] = here[seen][rows] - slots[columns]
    else:
        offsets[seen] = here[seen] - slots[seen]
    return offsets


def placement_of(places: str) -> Statistic:
    """Standard deviation of places within a caption in percent of the side; a caption of n images weighs n - 1.

    Args:
        places: name of the array of places, as `spreads` takes them.

    Returns:
        The number of a set of images; NaN where no caption repeats.
    """

    def statistic(images: Measured) -> float:
        found = spreads(images.column(places), [str(prompt["caption"]) for prompt in images.prompts]).values()
        weights = sum(spread.images - 1 for spread in found)
        if not weights:
            return float("nan")
        variance = sum((spread.images - 1) * spread.variance for spread in found) / weights
        return 100 * math.sqrt(variance)

    return statistic
