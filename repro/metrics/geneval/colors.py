"""The colour of an object, by CLIP ViT-L/14 of OpenAI: GenEval's zero-shot classifier.

All but the object is painted grey (#999), the box is cut out, and its embedding is compared with those of ten colours.
A colour of a class is the mean of three sentences' unit embeddings, made a unit again. OpenAI's weights need QuickGELU:
the model "ViT-L-14-quickgelu". Built as plain "ViT-L-14", the network loads without an error and computes another
function.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL.Image import Image, composite, fromarray, new
from torch import Tensor
from torch.nn.functional import normalize

from repro.metrics.base import WeightsError
from repro.metrics.geneval.names import COLORS
from repro.metrics.geneval.rules import Found
from repro.metrics.weights import check

TEMPLATES = ("a photo of a {color} {name}", "a photo of a {color}-colored {name}", "a photo of a {color} object")
BACKGROUND = "#999"
CONFIG = "open_clip_config.json"
FILES = (CONFIG, "open_clip_model.safetensors|*.safetensors")


class ColorNamer:
    """Names colours with a CLIP of an open_clip folder (`local-dir:` layout).

    Args:
        folder: such as a snapshot of "timm/vit_large_patch14_clip_224.openai".
        device: where it runs.

    Raises:
        WeightsError: the folder is not whole, or its network has not the activation that it was trained with.
    """

    def __init__(self, folder: Path, *, device: str | torch.device = "cpu") -> None:
        check(folder, FILES)
        _check_activation(folder / CONFIG)
        self.device = torch.device(device)
        name = f"local-dir:{folder}"
        try:
            self._model, _, self._transform = open_clip.create_model_and_transforms(name, require_pretrained=True)
            self._tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:  # safetensors, torch, json and open_clip each have their own
            raise WeightsError(f"cannot read the CLIP model in {folder}: {error}") from error
        self._model = self._model.to(self.device).requires_grad_(False).eval()
        self._classes: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, image: Image, found: Sequence[Found], name: str) -> list[str]:
        """The colour of each object of a class in an image."""
        pixels = torch.stack([self._transform(crop(image, item)) for item in found]).to(self.device)
        seen = normalize(self._model.encode_image(pixels).float(), dim=-1)
        return [COLORS[index] for index in (seen @ self._class(name).T).argmax(-1).tolist()]

    def _class(self, name: str) -> Tensor:
        if name not in self._classes:
            self._classes[name] = torch.stack([self._color(color, name) for color in COLORS])
        return self._classes[name]

    def _color(self, color: str, name: str) -> Tensor:
        sentences = [template.format(color=color, name=name) for template in TEMPLATES]
        embeddings = self._model.encode_text(self._tokenizer(sentences).to(self.device)).float()
        return normalize(normalize(embeddings, dim=-1).mean(0), dim=-1)


def crop(image: Image, item: Found) -> Image:
    """The box of an object, grey where the object is not."""
    alone = image.convert("RGB")
    if item.mask is not None:
        if item.mask.shape != (image.height, image.width):
            size = (image.height, image.width)
            raise ValueError(f"mask {item.mask.shape} of an image {size}; expected the same size")
        alone = composite(alone, new("RGB", image.size, BACKGROUND), fromarray(item.mask.astype(np.uint8) * 255))
    left, upper, right, lower = (round(float(side)) for side in item.box[:4])
    return alone.crop((left, upper, right, lower))


def _check_activation(path: Path) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        activation = config.get("model_cfg", {}).get("quick_gelu", False)
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: {error}; expected the configuration of open_clip") from error
    if activation is not True:
        raise WeightsError(
            f"{path}: quick_gelu is {activation!r}; expected true, as of ViT-L-14-quickgelu. Plain ViT-L-14 with the "
            "weights of OpenAI has the wrong activation and would name other colours"
        )
