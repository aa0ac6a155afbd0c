"""CLIP score of the paper (CS): the raw cosine under CLIP ViT-H-14, trained on laion2B."""

from pathlib import Path

import torch

from repro.metrics.clip_towers import (
    OPEN_CLIP_WEIGHTS,
    PROCESSOR_FILES,
    TRANSFORMERS_WEIGHTS,
    OpenClipTowers,
    Towers,
    TransformersTowers,
)
from repro.metrics.cosine import CosineScore
from repro.metrics.weights import resolve

WEIGHTS = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def clip_vit_h_score(
    weights: str = WEIGHTS, *, revision: str | None = None, device: str | torch.device = "cpu"
) -> CosineScore:
    """CS of the paper.

    Args:
        weights: hub name, or folder: open_clip's layout where it has an `open_clip_config.json`, else transformers'
            with image processor and tokenizer. Of a hub name, the open_clip files are taken.
        revision: of a hub name.
        device: where the model runs.

    Raises:
        WeightsError: weights are missing, truncated or of another model.
    """
    return CosineScore(_towers(weights, revision, device), key="clipscore")


def _towers(weights: str, revision: str | None, device: str | torch.device) -> Towers:
    path = Path(weights).expanduser()
    if path.is_dir() and not (path / "open_clip_config.json").is_file():
        folder = resolve(weights, revision=revision, files=(*TRANSFORMERS_WEIGHTS, *PROCESSOR_FILES))
        return TransformersTowers(folder, folder, device=device)
    return OpenClipTowers(resolve(weights, revision=revision, files=OPEN_CLIP_WEIGHTS), device=device)
