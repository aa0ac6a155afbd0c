"""What simulations of coverage share: how far a share of runs may stray, and distances that are fast to draw."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def allowed(share: float, runs: int) -> float:
    """A share plus three standard errors of one of so many runs."""
    return float(share + 3 * (share * (1 - share) / runs) ** 0.5)


def frechet(sums: Array, squares: Array, counts: Array) -> Array:
    """Frechet distance to the standard normal of a Gaussian with a diagonal covariance; axis -1 is the dimension."""
    means = sums / counts
    deviations = np.sqrt(squares / counts - means**2)
    return np.asarray((means**2 + (deviations - 1) ** 2).sum(axis=-1))


def jackknifed(features: Array) -> tuple[Array, Array]:
    """Distances of features, (..., G, images, D): of all of them, (...,), and without each group, (..., G)."""
    sums, squares = features.sum(axis=-2), (features**2).sum(axis=-2)
    total, square = sums.sum(axis=-2, keepdims=True), squares.sum(axis=-2, keepdims=True)
    groups, images = features.shape[-3:-1]
    whole = frechet(total, square, np.array(float(groups * images)))[..., 0]
    return whole, frechet(total - sums, square - squares, np.array(float((groups - 1) * images)))
