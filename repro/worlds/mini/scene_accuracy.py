"""Scene accuracy: the share of images that show what their caption says, read back by the oracle of the mini world.

The counterpart of GenEval (Ghosh et al., 2023): exact, because the world has no object that its oracle does not know.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from repro.metrics.base import Estimate, Prompt, share_estimate


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
        self._hits: list[bool] = []
        self._kinds: list[str] = []

    def reset(self) -> None:
        """Forget the images seen."""
        self._hits, self._kinds = [], []

    def update(self, images: Tensor, prompts: Sequence[Prompt]) -> np.ndarray:
        """Check one batch: 1.0 where the caption holds, else 0.0, (B,)."""
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        hits = [
            bool(self._oracle.check(picture, str(prompt["caption"])))
            for picture, prompt in zip(pictures, prompts, strict=True)
        ]
        self._hits += hits
        self._kinds += [str(prompt["kind"]) for prompt in prompts]
        return np.array(hits, dtype=np.float64)

    def compute(self) -> dict[str, Estimate]:
        """Accuracy over all images, then over each kind, with Wilson intervals."""
        hits, kinds = np.array(self._hits), np.array(self._kinds)
        by_kind = {f"{self.key}_{kind}": share_estimate(hits[kinds == kind]) for kind in sorted(set(self._kinds))}
        return {self.key: share_estimate(hits), **by_kind}
