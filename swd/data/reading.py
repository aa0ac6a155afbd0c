"""Images for a cache, from a sequence or an iterator, checked one by one."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from swd.errors import CacheError


class ImageReader:
    """Images ``start..stop`` of a sequence, or of an iterator that is read through in order."""

    def __init__(self, images: Iterable[Tensor], smallest: int) -> None:
        self._images: Any = images if hasattr(images, "__getitem__") else iter(images)
        self._place, self._smallest = 0, smallest

    def read(self, start: int, stop: int) -> Tensor:
        """Stack of images (B, 3, H, W) in [-1, 1]."""
        if hasattr(self._images, "__getitem__"):
            chosen = [self._images[i] for i in range(start, stop)]
        else:
            chosen = list(islice(self._images, start - self._place, stop - self._place))
            self._place = stop
        if len(chosen) < stop - start:
            raise CacheError(f"there are captions for {stop} images, but only {start + len(chosen)} images")
        return torch.stack([self._checked(image, start + i) for i, image in enumerate(chosen)])

    def _checked(self, image: Tensor, number: int) -> Tensor:
        image = image.float() / 127.5 - 1 if image.dtype == torch.uint8 else image.float()
        square = image.ndim == 3 and image.shape[0] == 3 and image.shape[1] == image.shape[2]
        if not square or image.shape[1] < self._smallest:
            need = f"3 x {self._smallest} x {self._smallest} or a larger square"
            raise CacheError(f"image {number} is {tuple(image.shape)}, but the largest scale needs {need}")
        if not image.abs().max() <= 1.001:  # also catches NaN
            raise CacheError(f"image {number} has values outside [-1, 1]: give floats in [-1, 1] or uint8")
        return image
