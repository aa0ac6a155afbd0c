"""Images for a cache, from a sequence or an iterator, checked one by one."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from swd.errors import CacheError


class ImageReader:
    """Images of a sequence by their numbers, or of an iterator that is read through in order."""

    def __init__(self, images: Iterable[Tensor], smallest: int) -> None:
        self._images: Any = images if hasattr(images, "__getitem__") else iter(images)
        self._place, self._smallest = 0, smallest

    def read(self, rows: Sequence[int]) -> Tensor:
        """Stack of images of rising numbers, (B, 3, H, W) in [-1, 1]; an iterator is read up to the last of them."""
        chosen = [self._images[row] for row in rows] if hasattr(self._images, "__getitem__") else self._next(rows)
        return torch.stack([self._checked(image, row) for image, row in zip(chosen, rows, strict=True)])

    def _next(self, rows: Sequence[int]) -> list[Tensor]:
        found = []
        for row in rows:
            image = next(islice(self._images, row - self._place, None), None)
            if image is None:
                raise CacheError(f"there are captions for {rows[-1] + 1} images, but fewer than {row + 1} images")
            found.append(image)
            self._place = row + 1
        return found

    def _checked(self, image: Tensor, number: int) -> Tensor:
        image = image.float() / 127.5 - 1 if image.dtype == torch.uint8 else image.float()
        square = image.ndim == 3 and image.shape[0] == 3 and image.shape[1] == image.shape[2]
        if not square or image.shape[1] < self._smallest:
            need = f"3 x {self._smallest} x {self._smallest} or a larger square"
            raise CacheError(f"image {number} is {tuple(image.shape)}, but the largest scale needs {need}")
        if not image.abs().max() <= 1.001:  # also catches NaN
            raise CacheError(f"image {number} has values outside [-1, 1]: give floats in [-1, 1] or uint8")
        return image
