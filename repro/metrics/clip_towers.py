"""The two towers of a CLIP model, from a transformers or an open_clip folder, behind one interface.

Both layouts of one model give the same embeddings: the tokenizers differ only in how they clean odd characters (that of
open_clip repairs them with ftfy), and pictures go through PIL's bicubic filter in both. A picture that is not square
loses both ends of its longer side: the shorter one is resized to the model's and the centre is cut out, as in training;
where the margins cannot be equal, open_clip cuts one pixel further on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import open_clip
import torch
from PIL.Image import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from repro.metrics.base import WeightsError
from repro.metrics.preprocess import stacked
from repro.metrics.weights import digests

TRANSFORMERS_WEIGHTS = (
    "config.json",
    "model.safetensors.index.json|model.safetensors|pytorch_model.bin.index.json|pytorch_model.bin",
)
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "tokenizer_config.json",
    "tokenizer.json|vocab.json",
    "tokenizer.json|merges.txt",
)
OPEN_CLIP_WEIGHTS = (
    "open_clip_config.json",
    "open_clip_model.safetensors|open_clip_pytorch_model.safetensors|open_clip_pytorch_model.bin",
)
LEGACY_EOS = 2  # configs before transformers 4.31: the end of a text is then where the largest token stands


class Towers(Protocol):
    """An image and a text encoder into one space of D dimensions; the embeddings are not normalised."""

    context_length: int

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """RGB images to (B, D)."""
        ...

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Captions, cut at ``context_length`` tokens, to (B, D)."""
        ...

    def lengths(self, captions: Sequence[str]) -> list[int]:
        """Tokens of each whole caption, the two that mark its ends included."""
        ...

    def inputs(self) -> dict[str, Any]:
        """What the embeddings follow from."""
        ...


class TransformersTowers:
    """CLIP in the layout of transformers.

    Args:
        folder: config and weights.
        processor: folder with image processor and tokenizer; often another model's.
        device: where the model runs, in float32.

    Raises:
        WeightsError: not a CLIP model, a tensor that is missing, left over or of another shape, or a tokenizer of
            another vocabulary.
    """

    def __init__(self, folder: Path, processor: Path, *, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        self._model = load_clip_model(folder).to(self._device)
        self._processor = CLIPImageProcessorPil.from_pretrained(processor)
        self._tokenizer = CLIPTokenizer.from_pretrained(processor)
        self.context_length: int = self._model.config.text_config.max_position_embeddings
        self._folders = folder, processor
        check_tokenizer(self._tokenizer, self._model.config, processor)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """RGB images to (B, D)."""
        pixels = stacked(self._pixels, images)
        features: Tensor = self._model.get_image_features(pixel_values=pixels.to(self._device)).pooler_output
        return features

    def _pixels(self, image: Image) -> Tensor:
        pixels: Tensor = self._processor(image, return_tensors="pt")["pixel_values"][0]
        return pixels

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Captions, cut at ``context_length`` tokens, to (B, D)."""
        options = {"padding": "max_length", "truncation": True, "max_length": self.context_length}
        tokens = self._tokenizer(list(captions), return_tensors="pt", **options).to(self._device)
        features: Tensor = self._model.get_text_features(**tokens).pooler_output
        return features

    def lengths(self, captions: Sequence[str]) -> list[int]:
        """Tokens of each whole caption."""
        return [len(tokens) for tokens in self._tokenizer(list(captions), verbose=False)["input_ids"]]

    def inputs(self) -> dict[str, Any]:
        """Layout, hashes of weights and processor, and what is done to pictures."""
        folder, processor = self._folders
        picture = {name: getattr(self._processor, name) for name in ("image_mean", "image_std")}
        return {
            "layout": "transformers",
            "weights": digests(folder, TRANSFORMERS_WEIGHTS),
            "processor": digests(processor, PROCESSOR_FILES),
            "image": {"side": dict(self._processor.crop_size), **{key: list(value) for key, value in picture.items()}},
            "context_length": self.context_length,
        }


class OpenClipTowers:
    """CLIP in the layout of open_clip (`open_clip_config.json` beside its weights).

    Args:
        folder: config and weights.
        device: where the model runs, in float32.

    Raises:
        WeightsError: config or weights are missing, of another model, or the tokenizer is not CLIP's own.
    """

    def __init__(self, folder: Path, *, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        self._folder = folder
        name = f"local-dir:{folder}"
        try:
            # unlike create_model, this one refuses where there are no weights
            self._model, self._transform = open_clip.create_model_from_pretrained(name, device=self._device)
            self._tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:  # safetensors, torch, json and open_clip each have their own
            raise WeightsError(f"cannot read the CLIP model in {folder}: {error}") from error
        if not isinstance(self._tokenizer, open_clip.SimpleTokenizer):
            raise WeightsError(f"{folder} has the tokenizer {type(self._tokenizer).__name__}, expected CLIP's own")
        self._model.requires_grad_(False).eval()
        self.context_length: int = self._model.context_length

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """RGB images to (B, D)."""
        pixels = stacked(self._transform, images).to(self._device)
        features: Tensor = self._model.encode_image(pixels)
        return features

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Captions, cut at ``context_length`` tokens, to (B, D)."""
        tokens = self._tokenizer(list(captions), context_length=self.context_length).to(self._device)
        features: Tensor = self._model.encode_text(tokens)
        return features

    def lengths(self, captions: Sequence[str]) -> list[int]:
        """Tokens of each whole caption."""
        return [len(self._tokenizer.encode(caption)) + 2 for caption in captions]

    def inputs(self) -> dict[str, Any]:
        """Layout, hashes of the weights, and what is done to pictures."""
        return {
            "layout": "open_clip",
            "weights": digests(self._folder, OPEN_CLIP_WEIGHTS),
            "image": str(self._transform),
            "context_length": self.context_length,
        }


def load_clip_model(folder: Path) -> Any:
    """Read a transformers CLIPModel in float32, every tensor from the file.

    Raises:
        WeightsError: see `TransformersTowers`; transformers alone initialises a missing tensor at random and warns.
    """
    try:
        config = CLIPConfig.get_config_dict(folder)[0]
        if config.get("model_type") != "clip":
            raise WeightsError(f"{folder} holds a model of type {config.get('model_type')!r}, expected 'clip'")
        options = {"dtype": torch.float32, "ignore_mismatched_sizes": True, "output_loading_info": True}
        model, report = CLIPModel.from_pretrained(folder, **options)  # a mismatch is in the report, by name
    except (RuntimeError, OSError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"cannot read the CLIP model in {folder}: {error}") from error
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if keys := sorted(map(str, report[problem])):
            raise WeightsError(f"{folder}: {len(keys)} {problem.replace('_', ' ')}, the first is {keys[0]}")
    return model.requires_grad_(False).eval()


def check_tokenizer(tokenizer: Any, config: Any, folder: Path) -> None:
    """Refuse a tokenizer whose tokens the text tower does not know, or does not know the end of."""
    text = config.text_config
    if len(tokenizer) > text.vocab_size:
        raise WeightsError(f"{folder}: the tokenizer has {len(tokenizer)} tokens, the model knows {text.vocab_size}")
    if text.eos_token_id not in (LEGACY_EOS, tokenizer.eos_token_id):
        raise WeightsError(
            f"{folder}: the tokenizer ends a text with {tokenizer.eos_token_id}, the model with {text.eos_token_id}"
        )
