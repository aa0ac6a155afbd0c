"""Photographs that come with packages: the only real images that need no download."""

from importlib import import_module
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

# Colour photographs; textures, drawings, microscope and telescope images of the same folders are left out.
FILES = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
SHRINK = 2  # sensors and JPEG blur the finest pixels: half the size has detail up to its own limit


def photograph_crops(side: int) -> Tensor:
    """Squares (N, 3, side, side) of uint8 that tile every photograph, row by row from its top left corner."""
    return torch.cat([_tiles(_read(package, file), side) for package, file in FILES])


def _read(package: str, file: str) -> Tensor:
    folder = Path(str(import_module(package).__file__)).parent
    with Image.open(folder / file) as image:
        return pil_to_tensor(image.convert("RGB").reduce(SHRINK))


def _tiles(image: Tensor, side: int) -> Tensor:
    rows = image.unfold(1, side, side).unfold(2, side, side)  # (3, rows, columns, side, side)
    return rows.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
