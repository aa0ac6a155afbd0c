"""Placement: how much the places of objects vary between images of one caption, which distillation may cost.

A scene puts each object near a slot that its caption fixes, up to 0.06 of the side away. An image's objects are matched
with the slots of their caption; the variance of what is left, over images of one caption, averaged over x, y and
objects, is the placement variance of that caption. Its root is shown, in percent of the side: 3.5 for scenes, 0 for a
model that draws every caption in one way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from repro.metrics.base import Estimate, Measured
from repro.metrics.clusters import weighted_mean
from repro.worlds.mini.scenes import parse_caption, slots_of

VERSION = 1  # raise it when the same places give other values


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


class Placement:
    """Standard deviation of places within a caption, in percent of the side, from what `SceneScore` left.

    Args:
        places: name of the array of places.
        key: record key.
    """

    def __init__(self, places: str, *, key: str = "placement") -> None:
        self.key, self._places = key, places

    def inputs(self) -> dict[str, Any]:
        """The version of the measure."""
        return {"measure": "standard deviation of places within a caption", "version": VERSION}

    def measure(self, images: Sequence[Any], prompts: Sequence[Any]) -> dict[str, np.ndarray]:
        """Nothing of its own."""
        return {}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Root of the mean variance, with the interval of the variance over captions; nothing where none repeats.

        A caption of n images weighs n - 1.
        """
        found = spreads(measured.column(self._places), [str(prompt["caption"]) for prompt in measured.prompts])
        if not found:
            return {}
        weights = np.array([spread.images - 1 for spread in found.values()], dtype=np.float64)
        mean = weighted_mean(np.array([spread.variance for spread in found.values()]), weights)
        low, high = (None if bound is None else 100 * max(0.0, bound) ** 0.5 for bound in (mean.ci_low, mean.ci_high))
        return {self.key: Estimate(100 * mean.value**0.5, low, high, mean.n)}
