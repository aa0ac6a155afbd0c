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
from swd.data.image_files import ImageFiles
from swd.data.shards import KEY_LENGTH
from swd.errors import CacheError
from swd.images import FORMATS


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Square images of one size.

    Attributes:
        count: how many.
        side: in pixels.
        digest: identity of the images.
        image: gives one, (3, side, side) in [-1, 1].
        skipped: files that could not be read.
        named: what they are, for the page; empty where their name in the figure says it.
        groups: the group of each image, such as the photograph that it is cut from; empty where each is one by itself.
    """

    count: int
    side: int
    digest: str
    image: Callable[[int], Tensor]
    skipped: int = 0
    named: str = ""
    groups: tuple[int, ...] = ()

    def batches(self, size: int) -> Iterator[Tensor]:
        """Images (B, 3, side, side), B up to ``size``."""
        for start in range(0, self.count, size):
            yield torch.stack([self.image(index) for index in range(start, min(start + size, self.count))])


def photographs(side: int, count: int) -> ImageSource:
    """The first crops of the photographs that packages ship."""
    squares, photograph = photograph_crops(side)
    crops = squares[:count]
    digest = hashlib.sha256(np.ascontiguousarray(crops.numpy())).hexdigest()
    return ImageSource(len(crops), side, digest, lambda index: crops[index] / 127.5 - 1, groups=photograph[:count])


def random_images(side: int, count: int) -> ImageSource:
    """Images of uniform noise, for what has only to run: image i follows from i."""

    def image(index: int) -> Tensor:
        return 2 * torch.rand(3, side, side, generator=torch.Generator().manual_seed(index)) - 1

    return ImageSource(count, side, f"uniform noise, {count} of {side} px", image)


def folder_files(path: Path, count: int) -> tuple[list[Path], int]:
    """``count`` images of a folder and its subfolders, evenly from the list of their names, and how many there are.

    Evenly, for the first of a folder with a subfolder for each category would be of one category.
    """
    known = Image.registered_extensions()
    there = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in known]
    chosen = min(count, len(there))
    return [there[index * len(there) // chosen] for index in range(chosen)], len(there)


def folder(path: Path, side: int, count: int, *, named: str = "") -> ImageSource:
    """Images of a folder as `folder_files` chooses them: centre squares, area-downscaled to ``side``.

    ``named`` is the data set, where it is one's; else the folder is a user's.

    All are decoded once before anything else, so that what is wrong with one is known first. Those that cannot be read
    are skipped with a warning that counts them.

    Raises:
        ExperimentError: no folder, no image in it, none that can be read, or one that is too small.
    """
    whose = named or "--images"
    if not path.is_dir():
        raise ExperimentError(f"{whose} {path} is no folder")
    files, there = folder_files(path, count)
    if not files:
        raise ExperimentError(f"{whose} {path} holds no images; read are {', '.join(FORMATS)}")
    problems = {file: problem for file in tqdm(files, desc="check images") if (problem := _problem(file, side))}
    good = [file for file in files if file not in problems]
    if not good:
        raise ExperimentError(f"{whose} {path}: none of {len(files)} images can be read; {problems[files[0]]}")
    if problems:
        print(f"warning: {len(problems)} of {len(files)} images are skipped: {_first(problems)}", file=sys.stderr)
    digests = [digest_file(file) for file in good]
    image = ImageFiles(good, side, keys=[digest[:KEY_LENGTH] for digest in digests]).__getitem__
    words = f"{len(good)} of {there:,} images of {named or 'a folder'}, evenly by their names"
    return ImageSource(len(good), side, digest_json(digests), image, len(problems), named=words)


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
