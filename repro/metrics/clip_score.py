"""CLIP score (Hessel et al., 2021): cosine of image and caption embeddings, raw: neither scaled nor clipped at 0."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import normalize

from repro.harness.files import digest_folder
from repro.metrics.base import Estimate, Measured, Prompt, WeightsError, mean_estimate

CONFIG_NAME = "open_clip_config.json"
VERSION = 1  # raise it when the same images get other values


def load_clip(folder: Path, *, device: str | torch.device = "cpu") -> tuple[Any, Any, Any]:
    """Read model, image transform and tokenizer from an open_clip folder (its `local-dir:` layout).

    Raises:
        WeightsError: if config or weights are missing, truncated or of another shape. open_clip alone would go on
            with random weights where the file is missing.
    """
    if not (folder / CONFIG_NAME).is_file():
        raise WeightsError(f"no CLIP model in {folder}: {CONFIG_NAME} is missing")
    if not any(path.suffix in {".safetensors", ".bin", ".pth"} for path in folder.iterdir()):
        raise WeightsError(f"no CLIP weights in {folder}: {CONFIG_NAME} is there, a .safetensors file is not")
    name = f"local-dir:{folder}"
    try:
        model, _, transform = open_clip.create_model_and_transforms(name, device=device)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # safetensors, torch, json and open_clip each have their own
        raise WeightsError(f"cannot read the CLIP model in {folder}: {error}") from error
    return model.requires_grad_(False).eval(), transform, tokenizer


class ClipScore:
    """Cosine of each image with its caption; each distinct caption is encoded once, also across rows.

    Args:
        folder: open_clip model in `local-dir:` layout.
        key: record key; the mini world's own is the default, so that it never stands under the paper's CS.
        device: where the model runs.
    """

    def __init__(self, folder: Path, *, key: str = "mini_clip", device: str | torch.device = "cpu") -> None:
        self.key = key
        self._device = torch.device(device)
        self._model, self._transform, self._tokenizer = load_clip(Path(folder), device=self._device)
        self._folder = Path(folder)
        self._captions: dict[str, Tensor] = {}

    def inputs(self) -> dict[str, Any]:
        """The formula, and the hash of the model's folder."""
        return {"formula": "raw cosine", "weights": digest_folder(self._folder), "version": VERSION}

    @torch.no_grad()
    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Score one batch: cosines (B,) in [-1, 1]."""
        captions = [str(prompt["caption"]) for prompt in prompts]
        self._encode([caption for caption in dict.fromkeys(captions) if caption not in self._captions])
        pixels = torch.stack([self._transform(image) for image in images]).to(self._device)
        seen = normalize(self._model.encode_image(pixels).float(), dim=-1)
        said = torch.stack([self._captions[caption] for caption in captions])
        return {self.key: (seen * said).sum(-1).cpu().numpy()}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Mean cosine over all images."""
        return {self.key: mean_estimate(measured.column(self.key))}

    def _encode(self, captions: list[str]) -> None:
        if captions:
            tokens = self._tokenizer(captions).to(self._device)
            embeddings = normalize(self._model.encode_text(tokens).float(), dim=-1)
            self._captions.update(zip(captions, embeddings, strict=True))
