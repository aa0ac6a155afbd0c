"""The GAN head: a small network that reads token-averaged features of the fake model, in float32."""

from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

NUM_LAYERS = 4


class Discriminator(nn.Sequential):
    """Four layers of LayerNorm, GELU, Linear whose widths fall linearly from ``inner_dim`` to 1.

    Args:
        inner_dim: D of the features it reads.
    """

    def __init__(self, inner_dim: int) -> None:
        # truncates, as released; on the CPU whatever the default device, since meta tensors hold no numbers
        widths = torch.linspace(inner_dim, 1, NUM_LAYERS + 1, dtype=torch.int64, device="cpu").tolist()
        layers: list[nn.Module] = []
        for width, narrower in pairwise(widths):
            layers += [nn.LayerNorm(width), nn.GELU(), nn.Linear(width, narrower)]
        super().__init__(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,) of token features (B, N, D): high for real.

        Float32 outside autocast, as released: bfloat16 has 3 digits, and the logits of data and samples differ by less
        than that while the head learns to tell them apart.
        """
        device = features.device.type
        autocast = torch.amp.is_autocast_available(device)  # which meta tensors, on which work is counted, have not
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            logits: Tensor = super().forward(features.float().mean(1))  # type: ignore[no-untyped-call]  # torch's
        return logits.squeeze(-1)
