"""PickScore (Kirstain et al., 2023): CLIP ViT-H-14, tuned on which of two images people picked for a prompt.

The weights are transformers' CLIPModel; its processor is that of the model it was tuned from, as on its card.
"""

import torch

from repro.metrics.clip_towers import PROCESSOR_FILES, TRANSFORMERS_WEIGHTS, TransformersTowers
from repro.metrics.cosine import CosineScore
from repro.metrics.weights import resolve

WEIGHTS = "yuvalkirstain/PickScore_v1"
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def pick_score(
    weights: str = WEIGHTS,
    *,
    processor: str = PROCESSOR,
    revision: str | None = None,
    processor_revision: str | None = None,
    device: str | torch.device = "cpu",
) -> CosineScore:
    """PS of the paper: the raw cosine under PickScore_v1.

    Args:
        weights: folder or hub name of the model.
        processor: folder or hub name of the image processor and tokenizer.
        revision: of ``weights``, where that is a hub name.
        processor_revision: of ``processor``, likewise.
        device: where the model runs.

    Raises:
        WeightsError: weights or processor are missing, truncated or of another model.
    """
    folder = resolve(weights, revision=revision, files=TRANSFORMERS_WEIGHTS)
    said = resolve(processor, revision=processor_revision, files=PROCESSOR_FILES)
    towers = TransformersTowers(folder, said, device=device)
    return CosineScore(towers, key="pickscore")
