"""Scene score, contour error and colour error: how well an image draws its caption, a continuous value per image.

`repro.worlds.mini.scenes.grading` measures one image; here are the metric, its intervals and its inputs. Images of one
caption are a cluster: short captions repeat, and what makes one image of a caption fail makes the others fail too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL.Image import Image

from repro.metrics.base import Estimate, Measured, Prompt
from repro.metrics.clusters import ClusteredMean
from repro.worlds.mini.scenes import Grade, grade

VERSION = 1  # raise it when the same images get other values
PLACES = "scene.places"  # array: (B, 4, 2), centres of the captioned objects in fractions of the side
NOTHING_SHOWN = "No image shows an object of its caption."


class SceneScore:
    """Mean scene score of the images; ``contour_error`` and ``colour_error`` of the captioned objects that they show.

    The two errors have no value (NaN) for an image that shows none of its objects: the score counts that.
    """

    key = "scene_score"

    def inputs(self) -> dict[str, Any]:
        """The version of the measure."""
        return {"measure": "overlap, contour and colour of captioned objects", "version": VERSION}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Grade one batch: three values per image, (B,), and where its objects are."""
        grades = [grade(np.asarray(image), str(p["caption"])) for image, p in zip(images, prompts, strict=True)]
        sides = np.array([image.width for image in images], dtype=np.float64)
        return {
            self.key: np.array([found.score for found in grades]),
            "contour_error": np.array([_mean(found, "contour") for found in grades]),
            "colour_error": np.array([_mean(found, "colour") for found in grades]),
            PLACES: np.stack([_places(found) for found in grades]) / sides[:, None, None],
        }

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Means with intervals over captions."""
        captions = [str(prompt["caption"]) for prompt in measured.prompts]
        keys = (self.key, "contour_error", "colour_error")
        return {key: _estimate(measured.column(key), captions) for key in keys}


def _estimate(values: np.ndarray, captions: Sequence[str]) -> Estimate:
    if np.isnan(values).all():
        return Estimate(float("nan"), None, None, len(values), NOTHING_SHOWN)
    return ClusteredMean.of(values, captions).estimate()


def _mean(found: Grade, field: str) -> float:
    values = [getattr(item, field) for item in found.objects if item is not None]
    return float(np.mean(values)) if values else float("nan")


def _places(found: Grade) -> np.ndarray:
    places = np.full((4, 2), np.nan)
    for index, item in enumerate(found.objects):
        if item is not None:
            places[index] = item.x, item.y
    return places
