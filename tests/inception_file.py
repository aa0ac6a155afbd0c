"""A file in the layout of FID's published Inception weights, with random values that keep activations alive."""

from pathlib import Path

import torch
from torch import Tensor

from repro.metrics.inception import CLASSIFIER, pool3_network


def inception_state(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of the published file by name, 95 MB: weights of variance 2 / fan-in, norms near the identity."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {name: tuple(value.shape) for name, value in pool3_network().state_dict().items()} | CLASSIFIER
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):  # the published file is older than this entry
            continue
        value = torch.randn(shape, generator=rng)
        if name.endswith(("running_var", "bn.weight")):
            value = 1 + 0.1 * value.clamp(-3, 3)
        elif len(shape) > 1:
            value = value * (2 / value[0].numel()) ** 0.5
        else:
            value = 0.1 * value
        state[name] = value
    return state


def write_inception(path: Path, *, seed: int = 0) -> Path:
    """Write such a file as torch does, and say where."""
    torch.save(inception_state(seed), path)
    return path
