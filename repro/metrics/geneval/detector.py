"""Objects in an image, as mmdet's Mask2Former finds them (instance segmentation).

The image is resized to a shorter side of 800 and a longer of at most 1333 (bilinear without antialias, as OpenCV does),
normalised and padded with zeros to a multiple of 32. Of the classes of all queries (softmax without "no object") the
100 most likely pairs are objects. A mask is sigma(m) > 1/2, with m bilinear at the size of the image; confidence is the
class's probability times the mean of sigma(m) inside the mask. The box is that of the mask, its far side one pixel
beyond.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from repro.metrics.base import WeightsError
from repro.metrics.geneval.convert import load_model
from repro.metrics.geneval.rules import Found
from repro.metrics.weights import check
from swd.errors import reason

MOST_PAIRS = 100  # mmdet's max_per_image
FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes the network's input: sides in pixels, ``mean`` and ``std`` of values in [0, 1]."""

    shorter: int
    longer: int
    multiple: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, folder: Path) -> "Preprocessing":
        """That of a converted folder.

        Raises:
            WeightsError: the file says something else, or nothing.
        """
        path = folder / "preprocessor_config.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                shorter=value["size"]["shortest_edge"],
                longer=value["size"]["longest_edge"],
                multiple=value["size_divisor"],
                mean=tuple(value["image_mean"]),
                std=tuple(value["image_std"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{path}: {reason(error)}; expected size, size_divisor, image_mean and image_std"
            ) from error

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the resized image, before it is padded."""
        ratio = min(self.longer / max(height, width), self.shorter / min(height, width))
        return int(height * ratio + 0.5), int(width * ratio + 0.5)

    def __call__(self, image: Image) -> tuple[Tensor, tuple[int, int]]:
        """Input (1, 3, H, W) of an RGB image, and the height and width that are not padding."""
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
        height, width = self.size(*pixels.shape[-2:])
        resized = interpolate(pixels, (height, width), mode="bilinear", align_corners=False).round()
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        normal = (resized / 255 - mean) / std
        return pad(normal, (0, -width % self.multiple, 0, -height % self.multiple)), (height, width)


class Detector:
    """Mask2Former of a converted folder.

    Args:
        folder: what ``python -m repro.metrics.geneval.convert`` wrote.
        device: where it runs.

    Raises:
        WeightsError: the folder is not whole.
    """

    def __init__(self, folder: Path, *, device: str | torch.device = "cpu") -> None:
        check(folder, FILES, advice=" To make it: python -m repro.metrics.geneval.convert CHECKPOINT OUT")
        self.device = torch.device(device)
        self.prepare = Preprocessing.read(folder)
        self._model: Any = load_model(folder).to(self.device)

    @torch.no_grad()
    def __call__(self, image: Image, *, least: float = 0.0) -> dict[int, list[Found]]:
        """Objects by number of class, those of confidence above ``least``, in no order.

        One image at a time: what is found in it follows from no other.
        """
        pixels, inner = self.prepare(image)
        said = self._model(pixel_values=pixels.to(self.device))
        scores, labels, queries = _pairs(said.class_queries_logits[0].float(), least)
        masks = said.masks_queries_logits[0].float()
        found: dict[int, list[Found]] = {}
        for score, label, query in zip(scores.tolist(), labels.tolist(), queries.tolist(), strict=True):
            mask = _at_size(masks[query], tuple(pixels.shape[-2:]), inner, (image.height, image.width))
            for item in _objects(mask, score, least):
                found.setdefault(label, []).append(item)
        return found


def _pairs(logits: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Probability, class and query of the likeliest pairs; logits are (Q, C + 1).

    A pair at or below ``least`` is left out already: its confidence is lower still, for a mask takes away from it.
    """
    probabilities = logits.softmax(-1)[:, :-1]
    scores, order = probabilities.flatten().topk(min(MOST_PAIRS, probabilities.numel()))
    order, scores = order[scores > least], scores[scores > least]
    return scores, order % probabilities.shape[1], order // probabilities.shape[1]


def _at_size(mask: Tensor, padded: tuple[int, ...], inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits (h, w) of a mask at the size of the image: up to the padded input, without padding, and back."""
    large = interpolate(mask[None, None], padded, mode="bilinear", align_corners=False)
    return interpolate(large[..., : inner[0], : inner[1]], size, mode="bilinear", align_corners=False)[0, 0]


def _objects(mask: Tensor, score: float, least: float) -> Iterator[Found]:
    inside = mask > 0
    quality = (mask.sigmoid() * inside).sum() / (inside.sum() + 1e-6)
    confidence = score * float(quality)
    if confidence > least:
        rows, columns = (torch.where(inside.any(axis))[0] for axis in (1, 0))
        box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        yield Found(np.array(box, dtype=np.float64), confidence, inside.cpu().numpy())
