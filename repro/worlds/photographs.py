"""Photographs that come with packages: the only real images that need no download."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from repro.harness.experiment import ExperimentError
from swd.images import read_image

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


def photograph_crops(side: int) -> tuple[Tensor, tuple[int, ...]]:
    """Squares (N, 3, side, side) of uint8 that tile every photograph, row by row from its top left corner.

    Returns:
        The squares, and the number of the photograph of each.

    Raises:
        ExperimentError: a package that ships photographs is not installed.
    """
    tiled = [_tiles(_read(package, file), side) for package, file in FILES]
    return torch.cat(tiled), tuple(number for number, squares in enumerate(tiled) for _ in squares)


def _read(package: str, file: str) -> Tensor:
    return pil_to_tensor(read_image(_folder(package) / file).reduce(SHRINK))


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ExperimentError(
            f"the photographs of Figure 1 come with the package {package}, which is not installed; "
            "the extra `photographs` brings it: pip install -e '.[photographs]' -c constraints.txt"
        )
    return Path(spec.origin).parent


def _tiles(image: Tensor, side: int) -> Tensor:
    rows = image.unfold(1, side, side).unfold(2, side, side)  # (3, rows, columns, side, side)
    return rows.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
