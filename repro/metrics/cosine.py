"""Scores that are the cosine of image and caption (CLIP score, Hessel et al., 2021; PickScore, Kirstain et al., 2023).

    score = <e_image, e_caption> / (|e_image| |e_caption|)

Raw, as SwD's tables print it (0.36 and 0.22): without CLIP score's 2.5 max(., 0), and without PickScore's exp(logit
scale), a constant factor of about 100 that does not change which image is preferred.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import normalize

from repro.metrics.base import Estimate, Measured, Prompt, finite, mean_estimate, share_estimate
from repro.metrics.clip_towers import Towers

FORMULA = "cosine of image and caption embedding, neither scaled nor clipped"
CACHED_CAPTIONS = 50_000
"""Rows of a table share their prompts, up to 30,000 of them; at 1,024 dimensions this is 200 MB."""


class CosineScore:
    """Cosine of each image with its caption; a caption that comes again is not encoded again.

    Args:
        towers: encoders of images and captions.
        key: record key; the share of captions that were cut is `<key>_cut`.
        version: counted up when values would change.
    """

    def __init__(self, towers: Towers, *, key: str, version: int = 1) -> None:
        self.key = key
        self._towers = towers
        self._version = version
        self._captions: dict[str, tuple[Tensor, bool]] = {}

    def inputs(self) -> dict[str, Any]:
        """Formula, towers and version."""
        return {"formula": FORMULA, "towers": self._towers.inputs(), "version": self._version}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
        """Cosines (B,) in [-1, 1], and whether each caption was cut, (B,).

        Raises:
            ValueError: a caption is empty.
            WeightsError: a cosine is not a number.
        """
        captions = captions_of(prompts, self.key)
        self._remember([caption for caption in dict.fromkeys(captions) if caption not in self._captions])
        seen = normalize(self._towers.encode_images(images).float(), dim=-1).cpu()
        said = torch.stack([self._captions[caption][0] for caption in captions])
        cut = np.array([self._captions[caption][1] for caption in captions])
        self._forget()
        return {self.key: finite(self.key, (seen * said).sum(-1).numpy(), prompts), f"{self.key}.cut": cut}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Mean cosine, and the share of captions longer than the text tower reads."""
        return {
            self.key: mean_estimate(measured.column(self.key)),
            f"{self.key}_cut": share_estimate(measured.column(f"{self.key}.cut")),
        }

    def _remember(self, captions: list[str]) -> None:
        if captions:
            embeddings = normalize(self._towers.encode_captions(captions).float(), dim=-1).cpu()
            cut = [length > self._towers.context_length for length in self._towers.lengths(captions)]
            self._captions.update(zip(captions, zip(embeddings, cut, strict=True), strict=True))

    def _forget(self) -> None:
        while len(self._captions) > CACHED_CAPTIONS:
            del self._captions[next(iter(self._captions))]  # the oldest


def captions_of(prompts: Sequence[Prompt], key: str) -> list[str]:
    """Captions of prompts.

    Raises:
        ValueError: one is missing, empty or no text, named by its id.
    """
    captions = [prompt.get("caption") for prompt in prompts]
    for prompt, caption in zip(prompts, captions, strict=True):
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(f"{key} needs a caption, prompt {prompt.get('id')!r} has {caption!r}")
    return [str(caption) for caption in captions]
