"""Scene accuracy: the share of images that show what their caption says, read back by the oracle of the mini world.

The counterpart of GenEval (Ghosh et al., 2023): exact, because the world has no object that its oracle does not know.
An object has a shape if its best template overlaps it by at least ``min_fit``, which is 0.6 for the oracle by itself.
That choice moves the share, and which of two rows has the larger one, so other choices stand beside it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from repro.metrics.base import Estimate, Measured, Prompt
from repro.metrics.clusters import clustered_share
from repro.worlds.mini.scenes import SceneOracle

VERSION = 2  # raise it when the same images get other values
FITS = (0.5, 0.65, 0.7)  # beside the oracle's own


class Oracle(Protocol):
    """Says how well an image holds what a caption claims; `repro.worlds.mini.scenes.SceneOracle` is one."""

    @property
    def min_fit(self) -> float:
        """From which fit on a caption holds."""
        ...

    def fit(self, image: np.ndarray, caption: str) -> float:
        """The largest ``min_fit`` at which the caption is true of the image (H, W, 3); NaN where it is at none."""
        ...


class SceneAccuracy:
    """Share of true captions at the oracle's own ``min_fit``, and at others (records ``<key>_050``, ``<key>_065``).

    Args:
        oracle: what reads the images; `repro.worlds.mini.scenes.SceneOracle()` by default.
        key: record key.
        fits: the other choices of ``min_fit``.
    """

    def __init__(
        self, oracle: Oracle | None = None, *, key: str = "scene_accuracy", fits: Sequence[float] = FITS
    ) -> None:
        self.key, self._fits = key, tuple(fits)
        self._oracle = SceneOracle() if oracle is None else oracle

    def inputs(self) -> dict[str, Any]:
        """The oracle by name, its choices, and its version."""
        fits = [self._oracle.min_fit, *self._fits]
        return {"oracle": type(self._oracle).__name__, "min_fit": fits, "version": VERSION}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Read one batch: 1.0 where the caption holds, else 0.0, (B,), and the fit from which on it does not."""
        fits = np.array(
            [
                self._oracle.fit(np.asarray(image), str(prompt["caption"]))
                for image, prompt in zip(images, prompts, strict=True)
            ]
        )
        return {self.key: (fits >= self._oracle.min_fit).astype(np.float64), self._name: fits}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Accuracy at each choice, with intervals over captions."""
        fits, captions = measured.column(self._name), [str(prompt["caption"]) for prompt in measured.prompts]
        choices = {self.key: self._oracle.min_fit} | {f"{self.key}_{round(100 * fit):03d}": fit for fit in self._fits}
        return {key: clustered_share(fits >= fit, captions) for key, fit in choices.items()}

    @property
    def _name(self) -> str:
        return f"{self.key}.fits"
