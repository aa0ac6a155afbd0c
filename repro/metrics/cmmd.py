"""CMMD (Jayasumana et al., 2024): MMD of CLIP embeddings under a Gaussian kernel, not bound to normality as FID is.

    CMMD = 1000 (mean k(x, x') + mean k(y, y') - 2 mean k(x, y)),   k(x, y) = exp(-|x - y|^2 / (2 10^2))

over all pairs, those of an image with itself included (the biased estimator, as published), x and y being unit
vectors: image embeddings of CLIP ViT-L/14 at 336 pixels. Its images are cropped to the central square, resized by
PIL's bicubic filter and normalized as CLIP's are. The 1 of the kernel drops out of the sum and is left out of it, so
float32 products suffice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms import functional
from transformers import CLIPModel

from repro.metrics.base import Estimate, Measured
from repro.metrics.frechet import CELLS, cells_of
from repro.metrics.jackknife import jackknife
from repro.metrics.networks import load_tower
from repro.metrics.preprocess import stacked
from repro.metrics.reference import Reference

CLIP = "openai/clip-vit-large-patch14-336"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BANDWIDTH = 10.0
SCALE = 1000.0
CHUNK = 2048


class ClipImageFeatures:
    """Unit image embeddings of a CLIP of transformers, (B, 768) for ViT-L/14.

    Args:
        source: folder or hub name.
        revision: of a hub name.
        device: where the network runs, in float32.
    """

    name = "clip"

    def __init__(self, source: str = CLIP, *, revision: str | None = None, device: str | torch.device = "cpu") -> None:
        network, self._weights = load_tower(CLIPModel, source, revision=revision, model_type="clip")
        del network.text_model
        self._network, self._device = network.to(device), torch.device(device)
        self.dimensions = int(network.config.projection_dim)
        self._side = int(network.config.vision_config.image_size)

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Encode one batch, (B, D) float32."""
        pixels = stacked(self.preprocess, images).to(self._device)
        embeddings: Tensor = self._network.get_image_features(pixels).pooler_output
        return torch.nn.functional.normalize(embeddings, dim=-1).cpu().numpy()

    def preprocess(self, image: Image.Image) -> Tensor:
        """Central square, bicubic, CLIP's mean and deviation: (3, S, S)."""
        width, height = image.size
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        square = image.crop((left, top, left + short, top + short))
        small = square.resize((self._side, self._side), Image.Resampling.BICUBIC)
        pixels: Tensor = functional.normalize(functional.to_tensor(small), MEAN, DEVIATION)
        return pixels

    def inputs(self) -> dict[str, Any]:
        """What the features follow from."""
        recipe = f"central square, PIL bicubic to {self._side}, CLIP's normalization, unit length"
        return {"network": "CLIP image tower with projection", "recipe": recipe, "weights": self._weights}


class Cmmd:
    """CMMD of features that a pass left, against the features of real images.

    The jackknife leaves out one of 12 groups of generated images at a time, with the reference held fixed.

    Args:
        reference: with features.
        key: record key.
        device: where kernels are evaluated.
    """

    def __init__(self, reference: Reference, *, key: str = "cmmd", device: str | torch.device = "cpu") -> None:
        self.key = key
        self._reference, self._real = reference, reference.needed_features(key)
        self._device = device
        self._real_sum: float | None = None

    def inputs(self) -> Mapping[str, Any]:
        """What the distance follows from besides the features."""
        formula = {"formula": "biased MMD, Gaussian kernel", "bandwidth": BANDWIDTH, "scale": SCALE}
        return formula | {"reference": self._reference.inputs()}

    def estimates(self, measured: Measured, name: str) -> dict[str, Estimate]:
        """Distance with its jackknife interval.

        Raises:
            ValueError: fewer than two images.
        """
        n, groups = len(measured.prompts), cells_of(measured.prompts)
        if n < 2:
            raise ValueError(f"{self.key} needs at least 2 images, got {n}")
        within = np.zeros((CELLS, CELLS))  # kernel sums between groups of generated images
        across = np.zeros(CELLS)  # of each group with all real images
        for i, (first, mine) in enumerate(self._fakes(measured, name, groups)):
            for j, (second, theirs) in enumerate(self._fakes(measured, name, groups)):
                if j >= i:
                    sums = group_sums(first, second, mine, theirs)
                    within += sums if i == j else sums + sums.T
            across += sum(group_sums(first, real, mine, None)[:, 0] for real in self._reals())
        sizes = np.bincount(groups, minlength=CELLS)
        value = self._distance(within, across, sizes)
        if n < 4:
            return {self.key: Estimate(value, None, None, n)}
        kept = [np.arange(CELLS) != group for group in np.flatnonzero(sizes)]
        theirs_without = [self._distance(within[k][:, k], across[k], sizes[k]) for k in kept]
        return {self.key: jackknife(value, theirs_without, n)}

    def _distance(self, within: np.ndarray, across: np.ndarray, sizes: np.ndarray) -> float:
        if self._real_sum is None:
            pairs = (group_sums(a, b, None, None) for a in self._reals() for b in self._reals())
            self._real_sum = float(sum(pair[0, 0] for pair in pairs))
        n, m = int(sizes.sum()), len(self._real)
        return float(SCALE * (within.sum() / n**2 + self._real_sum / m**2 - 2 * across.sum() / (n * m)))

    def _reals(self) -> Iterator[Tensor]:
        for start in range(0, len(self._real), CHUNK):
            yield torch.tensor(self._real[start : start + CHUNK], device=self._device)

    def _fakes(self, measured: Measured, name: str, groups: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for rows in rechunk(self._reference.checked(measured.blocks(name))):
            theirs = torch.from_numpy(groups[start : start + len(rows)])
            start += len(rows)
            yield torch.from_numpy(rows).to(self._device), one_hot(theirs, CELLS).double().to(self._device)


def rechunk(blocks: Iterable[np.ndarray], size: int = CHUNK) -> Iterator[np.ndarray]:
    """The same rows in blocks of ``size`` or a little more, however small the blocks that come."""
    waiting: list[np.ndarray] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= size:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def group_sums(x: Tensor, y: Tensor, x_groups: Tensor | None, y_groups: Tensor | None) -> np.ndarray:
    """Sums of k(x, y) - 1 over pairs of groups, (G, H), in float64.

    Args:
        x: features (B, D).
        y: features (C, D).
        x_groups: membership (B, G), or None for one group.
        y_groups: membership (C, H), or None for one group.
    """
    squared = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T
    kernel = torch.expm1(squared.clamp(min=0) / (-2 * BANDWIDTH**2)).double()
    left = kernel.sum(0, keepdim=True) if x_groups is None else x_groups.T @ kernel
    sums = left.sum(1, keepdim=True) if y_groups is None else left @ y_groups
    return sums.cpu().numpy()
