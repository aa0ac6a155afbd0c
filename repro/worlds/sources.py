"""Images by the piece, whatever world they are of: photographs that packages ship, or a user's folder."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_file, digest_json
from repro.worlds.photographs import photograph_crops
from swd.cache import ImageFiles
from swd.errors import CacheError


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Square images of one size.

    Attributes:
        count: how many.
        side: in pixels.
        digest: identity of the images.
        image: gives one, (3, side, side) in [-1, 1].
        skipped: files that could not be read.
    """

    count: int
    side: int
    digest: str
    image: Callable[[int], Tensor]
    skipped: int = 0

    def batches(self, size: int) -> Iterator[Tensor]:
        """Images (B, 3, side, side), B up to ``size``."""
        for start in range(0, self.count, size):
            yield torch.stack([self.image(index) for index in range(start, min(start + size, self.count))])


def photographs(side: int, count: int) -> ImageSource:
    """The first crops of the photographs that packages ship."""
    crops = photograph_crops(side)[:count]
    digest = hashlib.sha256(np.ascontiguousarray(crops.numpy())).hexdigest()
    return ImageSource(len(crops), side, digest, lambda index: crops[index] / 127.5 - 1)


def random_images(side: int, count: int) -> ImageSource:
    """Images of uniform noise, for what has only to run: image i follows from i."""

    def image(index: int) -> Tensor:
        return 2 * torch.rand(3, side, side, generator=torch.Generator().manual_seed(index)) - 1

    return ImageSource(count, side, f"uniform noise, {count} of {side} px", image)


def folder(path: Path, side: int, count: int) -> ImageSource:
    """The first images of a folder and its subfolders by name, centre squares, area-downscaled to ``side``.

    All are decoded once before anything else, so that what is wrong with one is known first. Those that cannot be read
    are skipped with a warning that counts them.

    Raises:
        ExperimentError: no folder, no image in it, none that can be read, or one that is too small.
    """
    if not path.is_dir():
        raise ExperimentError(f"--images {path} is no folder")
    known = Image.registered_extensions()
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in known][:count]
    if not files:
        raise ExperimentError(f"--images {path} holds no images; known are {', '.join(sorted(known))}")
    problems = {file: problem for file in tqdm(files, desc="check images") if (problem := _problem(file, side))}
    good = [file for file in files if file not in problems]
    if not good:
        raise ExperimentError(f"--images {path}: none of {len(files)} images can be read; {problems[files[0]]}")
    if problems:
        print(f"warning: {len(problems)} of {len(files)} images are skipped: {_first(problems)}", file=sys.stderr)
    digest = digest_json([digest_file(file) for file in good])
    return ImageSource(len(good), side, digest, ImageFiles(good, side).__getitem__, skipped=len(problems))


def _problem(file: Path, side: int) -> str:
    """Why a file cannot be read, or nothing."""
    image = ImageFiles([file], side)
    try:
        image.check([0])
        image[0]
    except CacheError as error:
        if error.__cause__ is not None:  # of the library that reads it; a size has none
            return str(error)
        raise ExperimentError(str(error)) from error
    return ""


def _first(problems: dict[Path, str], shown: int = 3) -> str:
    return "; ".join(list(problems.values())[:shown])
