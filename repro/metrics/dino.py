"""DINOv2 features for FD-DINOv2 (Stein et al., 2023), whose judgement of images is nearer to people's than Inception's.

As in their dgm-eval: ViT-L/14, the image squeezed to 224 x 224 by PIL's bicubic filter on 8-bit values, ImageNet's
mean and deviation, the class token after the last norm (1024). They run the network of torch.hub, which fits the
position embeddings of 37 x 37 patches to 16 x 16 with a scale of 16.1 / 37; transformers uses 16 / 37. Here the
embeddings are fitted the hub's way once, when the network is read, so that transformers has nothing left to fit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.transforms import functional
from transformers import Dinov2Model

from repro.metrics.base import WeightsError
from repro.metrics.networks import load_tower
from repro.metrics.preprocess import stacked

DINO = "facebook/dinov2-large"
SIDE = 224
OFFSET = 0.1
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoFeatures:
    """Class token of DINOv2, (B, 1024) for ViT-L/14.

    Args:
        source: folder or hub name of a `Dinov2Model`.
        revision: of a hub name.
        device: where the network runs, in float32.
    """

    name = "dinov2"

    def __init__(self, source: str = DINO, *, revision: str | None = None, device: str | torch.device = "cpu") -> None:
        network, self._weights = load_tower(Dinov2Model, source, revision=revision, model_type="dinov2")
        patch = int(network.config.patch_size)
        if SIDE % patch:
            raise WeightsError(f"{source}: patches of {patch} do not divide {SIDE} pixels, expected 14")
        positions = network.embeddings.position_embeddings
        network.embeddings.position_embeddings = nn.Parameter(fit_positions(positions, SIDE // patch), False)
        self._network, self._device = network.to(device), torch.device(device)
        self.dimensions = int(network.config.hidden_size)

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Encode one batch, (B, D) float32."""
        pixels = stacked(preprocess, images).to(self._device)
        features: np.ndarray = self._network(pixels).pooler_output.cpu().numpy()
        return features

    def inputs(self) -> dict[str, Any]:
        """What the features follow from."""
        recipe = f"PIL bicubic to {SIDE} x {SIDE}, ImageNet's normalization, positions fitted as torch.hub does"
        return {"network": "DINOv2, class token", "recipe": recipe, "weights": self._weights}


def preprocess(image: Image.Image) -> Tensor:
    """Pixels (3, 224, 224)."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels: Tensor = functional.normalize(functional.to_tensor(small), MEAN, DEVIATION)
    return pixels


def fit_positions(positions: Tensor, side: int) -> Tensor:
    """Position embeddings (1, 1 + M^2, D) for side x side patches, as DINOv2's own code fits them."""
    patches = positions[:, 1:]
    grid = round(patches.shape[1] ** 0.5)
    if grid == side:
        return positions
    scale = (side + OFFSET) / grid
    square = patches.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    fitted = interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], fitted.flatten(2).transpose(1, 2)], dim=1)
