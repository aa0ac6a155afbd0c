"""ImageReward (Xu et al., 2023): a BLIP model that was trained on which image people prefer for a prompt.

    reward = (head(h) - 0.16717) / 1.03334,   h = first token of the caption, read with cross-attention to the image

The published checkpoint runs in transformers' BLIP towers: nothing but the released weights is needed. The official
package asks for old versions and lives in an environment of its own (`nox -s imagereward`), as the oracle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from transformers import BertTokenizer, BlipTextModel, BlipVisionModel

from repro.metrics.base import Estimate, Measured, Prompt, WeightsError, finite, mean_estimate, share_estimate
from repro.metrics.cosine import captions_of
from repro.metrics.image_reward_checkpoint import (
    CHECKPOINT,
    MED_CONFIG,
    load_part,
    read_checkpoint,
    read_med_config,
    reward_head,
    split,
    text_config,
    vision_config,
)
from repro.metrics.preprocess import stacked
from repro.metrics.weights import digests, resolve

WEIGHTS, TOKENIZER = "zai-org/ImageReward", "google-bert/bert-base-uncased"
TOKENIZER_FILES = ("tokenizer.json|vocab.txt",)
CONTEXT_LENGTH = 35
MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the head's outputs over the authors' validation set, as in their code."""
PIXEL_MEAN, PIXEL_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ImageReward:
    """Reward of each image under its caption: about normal with unit variance over the authors' validation set.

    A picture that is not square loses both ends of its longer side, as in the official code.

    Args:
        weights: folder or hub name, with ImageReward.pt and med_config.json.
        tokenizer: folder or hub name of BERT's uncased vocabulary.
        revision: of ``weights``, where that is a hub name.
        tokenizer_revision: of ``tokenizer``, likewise.
        key: record key; the share of captions cut at 35 tokens is `<key>_cut`.
        device: where the model runs, in float32.

    Raises:
        WeightsError: a file is missing or truncated, or a tensor is missing, left over or of another shape.
    """

    def __init__(
        self,
        weights: str = WEIGHTS,
        *,
        tokenizer: str = TOKENIZER,
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        key: str = "image_reward",
        device: str | torch.device = "cpu",
    ) -> None:
        self.key = key
        self._device = torch.device(device)
        self._folder = resolve(weights, revision=revision, files=(CHECKPOINT, MED_CONFIG))
        self._vocabulary = vocabulary = resolve(tokenizer, revision=tokenizer_revision, files=TOKENIZER_FILES)
        self._model = RewardModel.read(self._folder).to(self._device)
        self._tokenizer = read_tokenizer(vocabulary, self._model.vocab_size)
        self._transform = preprocessing(self._model.side)

    def inputs(self) -> dict[str, Any]:
        """Formula, hashes of checkpoint and configuration, version."""
        return {
            "formula": f"(head(first token) - {MEAN}) / {STD}",
            "weights": digests(self._folder, (CHECKPOINT, MED_CONFIG)),
            "tokenizer": digests(self._vocabulary, TOKENIZER_FILES),
            "context_length": CONTEXT_LENGTH,
            "backend": "transformers",
            "version": 1,
        }

    @torch.no_grad()
    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
        """Rewards (B,), and whether each caption was cut, (B,).

        Raises:
            ValueError: a caption is empty.
            WeightsError: a reward is not a number.
        """
        captions = captions_of(prompts, self.key)
        pixels = stacked(self._transform, images)
        options = {"padding": "max_length", "truncation": True, "max_length": CONTEXT_LENGTH}
        tokens = self._tokenizer(captions, return_tensors="pt", **options)
        given = (pixels, tokens["input_ids"], tokens["attention_mask"])
        rewards = self._model(*(tensor.to(self._device) for tensor in given))
        whole = self._tokenizer(captions, verbose=False)["input_ids"]
        cut = np.array([len(ids) > CONTEXT_LENGTH for ids in whole])
        return {self.key: finite(self.key, rewards.float().cpu().numpy(), prompts), f"{self.key}.cut": cut}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Mean reward, and the share of captions longer than 35 tokens."""
        return {
            self.key: mean_estimate(measured.column(self.key)),
            f"{self.key}_cut": share_estimate(measured.column(f"{self.key}.cut")),
        }


class RewardModel(nn.Module):
    """Vision tower, text tower with cross-attention, head.

    Args:
        vision: BlipVisionModel.
        text: BlipTextModel with cross-attention, without a pooler.
        head: from the text's width to one number.
    """

    def __init__(self, vision: Any, text: Any, head: nn.Module) -> None:
        super().__init__()
        self.vision, self.text, self.head = vision, text, head
        self.side: int = vision.config.image_size
        self.vocab_size: int = text.config.vocab_size

    @classmethod
    def read(cls, folder: Path) -> "RewardModel":
        """Build from a folder with the published files, every tensor from the checkpoint."""
        state = read_checkpoint(folder / CHECKPOINT)
        try:
            seen = vision_config(state)
            said = text_config(read_med_config(folder / MED_CONFIG), vision_width=seen.hidden_size)
        except KeyError as error:
            raise WeightsError(f"{folder / CHECKPOINT} has no tensor {error}") from error
        with torch.device("meta"):
            head = reward_head(state)
        vision = BlipVisionModel(seen)
        text = BlipTextModel(said, add_pooling_layer=False)
        parts = split(state)
        load_part(vision, parts["vision"], "vision tower")
        load_part(text, parts["text"], "text tower")
        load_part(head.to_empty(device="cpu"), parts["head"], "head")
        model: RewardModel = cls(vision, text, head).float().requires_grad_(False).eval()
        return model

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Rewards (B,) of images (B, 3, S, S) under captions (B, L), with a mask of their tokens."""
        seen = self.vision(pixel_values=pixels).last_hidden_state
        said = self.text(
            input_ids=tokens,
            attention_mask=mask,
            encoder_hidden_states=seen,
            is_decoder=False,  # both ways: the whole caption is read at once
        )
        rewards: Tensor = (self.head(said.last_hidden_state[:, 0]).squeeze(-1) - MEAN) / STD
        return rewards


def preprocessing(side: int) -> Compose:
    """The official transform: the shorter side bicubic to the model's, centre, normalise."""
    resize = Resize(side, interpolation=InterpolationMode.BICUBIC)
    return Compose([resize, CenterCrop(side), ToTensor(), Normalize(PIXEL_MEAN, PIXEL_STD)])


def read_tokenizer(folder: Path, vocab_size: int) -> BertTokenizer:
    """BERT's tokenizer with the two tokens that BLIP adds to it.

    Raises:
        WeightsError: it has not as many tokens as the text tower.
    """
    tokenizer = BertTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    if len(tokenizer) != vocab_size:
        raise WeightsError(f"{folder} has {len(tokenizer)} tokens with BLIP's two, the checkpoint {vocab_size}")
    return tokenizer
