"""Gaussians fitted to features, from sums that are added block by block, and the Frechet distance between two.

    FID = |mu - mu_r|^2 + tr S + tr S_r - 2 tr (S S_r)^(1/2)

With S_r = F F^T, tr (S S_r)^(1/2) is the sum of the roots of the eigenvalues of F^T S F. A set of fewer images than
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
    """Count, mean (D,) and scatter (D, D), the sum of centred outer products, in float64."""

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """Moments of features (n, D), n >= 1."""
        mean = features.double().mean(0)
        centred = features.double() - mean
        return cls(len(features), mean, centred.T @ centred)

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets (Chan et al., 1979)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = (self.scatter + other.scatter).addr_(shift, shift, alpha=self.count * other.count / count)
        return Moments(count, self.mean + shift * (other.count / count), scatter)

    def trace(self) -> float:
        """Trace of the covariance."""
        return float(self.scatter.trace()) / (self.count - 1)

    def overlap(self, factor: Tensor) -> float:
        """Trace of (S F F^T)^(1/2) for F (D, k)."""
        return root_sum(factor.T @ self.scatter @ factor) / math.sqrt(self.count - 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The features (n, D) themselves, for sets of fewer images than features; answers as `Moments` does."""

    features: Tensor

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(torch.cat([self.features, other.features]))

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.features)

    @property
    def mean(self) -> Tensor:
        """Mean (D,)."""
        return self.features.mean(0)

    def trace(self) -> float:
        """Trace of the covariance."""
        return float((self.features - self.mean).square().sum()) / (self.count - 1)

    def overlap(self, factor: Tensor) -> float:
        """Trace of (S F F^T)^(1/2), from the smaller Gram matrix."""
        product = (self.features - self.mean) @ factor
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
    """Squared Frechet distance of a set of at least two images to the reference."""
    shift = float((sample.mean - reference.mean).square().sum())
    return shift + sample.trace() + reference.trace - 2 * sample.overlap(reference.factor)
