"""Gaussians fitted to features, from sums that are added block by block, and the Frechet distance between two.

    FID = |mu - mu_r|^2 + tr S + tr S_r - 2 tr (S S_r)^(1/2)

With S_r = F F^T, tr (S S_r)^(1/2) is the sum of the roots of the eigenvalues of F^T S F, so features are multiplied by
F once, when they are read. A set of fewer images than
features is kept as it is, which is smaller than its covariance and equally exact.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repro.metrics.reference import Reference


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over a set of images, in float64, beside a reference with the factor F (D, k).

    Attributes:
        count: images.
        mean: of the features, (D,).
        spread: sum of squared distances from the mean.
        coloured_mean: of the features times F, (k,).
        scatter: sum of centred outer products of the features times F, (k, k).
    """

    count: int
    mean: Tensor
    spread: float
    coloured_mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor, factor: Tensor) -> "Moments":
        """Moments of features (n, D), n >= 1."""
        mean = features.mean(0)
        centred = features - mean
        coloured = centred @ factor
        return cls(len(features), mean, float(centred.square().sum()), mean @ factor, coloured.T @ coloured)

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets (Chan et al., 1979)."""
        count = self.count + other.count
        share, weight = other.count / count, self.count * other.count / count
        shift, coloured = other.mean - self.mean, other.coloured_mean - self.coloured_mean
        return Moments(
            count,
            self.mean + share * shift,
            self.spread + other.spread + weight * float(shift.square().sum()),
            self.coloured_mean + share * coloured,
            (self.scatter + other.scatter).addr_(coloured, coloured, alpha=weight),
        )

    def trace(self) -> float:
        """Trace of the covariance S."""
        return self.spread / (self.count - 1)

    def overlap(self) -> float:
        """Trace of (S F F^T)^(1/2)."""
        return root_sum(self.scatter) / math.sqrt(self.count - 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The features (n, D) themselves and their product with F (n, k), for sets of fewer images than features."""

    features: Tensor
    coloured: Tensor

    @classmethod
    def of(cls, features: Tensor, factor: Tensor) -> "Rows":
        """Keep features (n, D)."""
        return cls(features, features @ factor)

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(torch.cat([self.features, other.features]), torch.cat([self.coloured, other.coloured]))

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.features)

    @property
    def mean(self) -> Tensor:
        """Mean (D,)."""
        return self.features.mean(0)

    def trace(self) -> float:
        """Trace of the covariance S."""
        return float((self.features - self.mean).square().sum()) / (self.count - 1)

    def overlap(self) -> float:
        """Trace of (S F F^T)^(1/2), from the smaller Gram matrix."""
        product = self.coloured - self.coloured.mean(0)
        gram = product @ product.T if len(product) < product.shape[1] else product.T @ product
        return root_sum(gram) / math.sqrt(self.count - 1)


Cell = Moments | Rows


def root_sum(matrix: Tensor) -> float:
    """Sum of the square roots of the eigenvalues of a positive semidefinite matrix."""
    values: Tensor = torch.linalg.eigvalsh(matrix)
    return float(values.clamp(min=0).sqrt().sum())


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The reference: mean (D,), a factor F (D, k) of its covariance F F^T, and the trace of that."""

    mean: Tensor
    factor: Tensor
    trace: float

    @classmethod
    def of(cls, reference: Reference, device: str | torch.device = "cpu") -> "Gaussian":
        """From moments, or from features where those are fewer than dimensions."""
        if reference.features is not None and 1 < len(reference.features) < len(reference.mean):
            rows = torch.tensor(np.asarray(reference.features), device=device).double()
            factor = (rows - rows.mean(0)).T / (len(rows) - 1) ** 0.5
            return cls(rows.mean(0), factor, float(factor.square().sum()))
        covariance = torch.from_numpy(reference.covariance).to(device)
        factor = covariance_factor(covariance)
        return cls(torch.from_numpy(reference.mean).to(device), factor, float(covariance.trace()))


def covariance_factor(covariance: Tensor) -> Tensor:
    """F with F F^T = S: Cholesky's where S has full rank, from eigenvectors where not.

    Raises:
        ValueError: an eigenvalue is clearly negative.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(covariance)
    least, most = float(values[0]), float(values[-1])
    if least < -1e-6 * most:
        raise ValueError(f"sigma is no covariance: it has the eigenvalue {least:.3g}, the largest is {most:.3g}")
    factor = vectors * values.clamp(min=0).sqrt()
    return factor


def frechet_distance(reference: Gaussian, sample: Cell) -> float:
    """Squared Frechet distance of a set of at least two images, summed up beside this reference, to it."""
    shift = float((sample.mean - reference.mean).square().sum())
    return shift + sample.trace() + reference.trace - 2 * sample.overlap()
