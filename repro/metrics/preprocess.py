"""Images to tensors, several at a time.

Resizing a picture of 1024 px takes PIL some 10 ms for each network, while a GPU waits. PIL and torch let go of Python's
lock, so threads share the work; an image's values follow from that image alone and are the same bit for bit.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL.Image import Image
from torch import Tensor

WORKERS = 8  # threads


def stacked(transform: Callable[[Image], Tensor], images: Sequence[Image]) -> Tensor:
    """Transformed images, (B, ...), in their order.

    Args:
        transform: from an RGB image to a tensor; one shape for all images.
        images: at least one.
    """
    if len(images) == 1:
        return torch.stack([transform(images[0])])
    with ThreadPoolExecutor(min(WORKERS, len(images))) as workers:
        return torch.stack(list(workers.map(transform, images)))
