"""Scene accuracy: the share of images that show what their caption says, read back by the oracle of the mini world.

The counterpart of GenEval (Ghosh et al., 2023): exact, because the world has no object that its oracle does not know.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from repro.metrics.base import Estimate, Measured, Prompt, share_estimate

VERSION = 1  # raise it when the same images get other values


class Oracle(Protocol):
    """Says whether an image (H, W, 3) holds what a caption claims; `repro.worlds.mini.scenes.SceneOracle` is one."""

    def check(self, image: np.ndarray, caption: str) -> bool:
        """Whether the caption is true of the image."""
        ...


class SceneAccuracy:
    """Share of true captions, over all prompts and by `kind` (records `<key>_single`, `<key>_count`, ...).

    Args:
        oracle: what reads the images; `repro.worlds.mini.scenes.SceneOracle()` by default.
        key: record key.
    """

    def __init__(self, oracle: Oracle | None = None, *, key: str = "scene_accuracy") -> None:
        if oracle is None:
            from repro.worlds.mini.scenes import SceneOracle

            oracle = SceneOracle()
        self.key = key
        self._oracle = oracle

    def inputs(self) -> dict[str, Any]:
        """The oracle by name, and its version."""
        return {"oracle": type(self._oracle).__name__, "version": VERSION}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Check one batch: 1.0 where the caption holds, else 0.0, (B,)."""
        hits = [
            bool(self._oracle.check(np.asarray(image), str(prompt["caption"])))
            for image, prompt in zip(images, prompts, strict=True)
        ]
        return {self.key: np.array(hits, dtype=np.float64)}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Accuracy over all images, then over each kind, with Wilson intervals."""
        hits, kinds = measured.column(self.key), np.array([str(prompt["kind"]) for prompt in measured.prompts])
        by_kind = {f"{self.key}_{kind}": share_estimate(hits[kinds == kind]) for kind in sorted(set(kinds.tolist()))}
        return {self.key: share_estimate(hits), **by_kind}
