"""The delete-a-group jackknife of a number of a whole set (Shao and Tu, 1995).

With theta_(g), the number without the g-th of G groups of images,

    var(theta) = (G - 1) / G sum_g (theta_(g) - mean)^2

with G - 1 degrees of freedom. Why no bootstrap: docs/decisions/fid-e.md.
"""

from collections.abc import Sequence

import numpy as np

from repro.metrics.base import Estimate, t_quantile


def jackknife(value: float, replicates: Sequence[float], n: int) -> Estimate:
    """A number with its 95 % interval and its replicates.

    Args:
        value: of all images.
        replicates: without each group in turn.
        n: images.

    Raises:
        ValueError: fewer than two replicates, which have no spread.
    """
    groups = len(replicates)
    if groups < 2:
        raise ValueError(f"a jackknife needs at least 2 replicates, got {groups}")
    error = ((groups - 1) / groups * np.square(np.subtract(replicates, np.mean(replicates))).sum()) ** 0.5
    half = t_quantile(groups - 1) * float(error)
    return Estimate(value, value - half, value + half, n, replicates=tuple(map(float, replicates)))
