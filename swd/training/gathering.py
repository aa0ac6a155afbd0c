"""Losses of a whole batch that processes share: each sees the features of all, and gives the gradient of its own.

Every process computes the same loss L from the same features. What it gives is the part of L's gradient that goes
through its own images; gradients are averaged over processes afterwards, so it gives that part as often as there are
processes, and the average of all is the gradient of L.
"""

import torch
from torch import Tensor
from torch import distributed as dist


def whole_batch(features: Tensor) -> Tensor:
    """Features of the images of all processes, in the order of the batch; only this one's carry a gradient.

    Args:
        features: of this process's images, (B, N, D); as many in every process.

    Returns:
        Of all, (P B, N, D), P the number of processes.
    """
    if _processes(features) == 1:
        return features
    parts = [torch.empty_like(features) for _ in range(_processes(features))]
    dist.all_gather(parts, features.detach().contiguous())
    parts[dist.get_rank()] = features
    return torch.cat(parts)


def of_whole_batch(loss: Tensor) -> Tensor:
    """The loss as it is, with P times its gradient; see above."""
    return loss + (_processes(loss) - 1) * (loss - loss.detach())


def _processes(like: Tensor) -> int:
    """1 on meta tensors, on which one process alone counts work."""
    return dist.get_world_size() if dist.is_initialized() and not like.is_meta else 1
