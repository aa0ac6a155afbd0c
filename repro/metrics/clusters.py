"""Means over images of which some belong together: several images of one caption are not independent draws.

With x_i of cluster g(i), mean m over n images and G clusters, the variance of m is (Liang and Zeger, 1986)

    G / (G - 1) * sum_g (sum_{i in g} (x_i - m))^2 / n^2

which is s^2 / n where every cluster holds one image. Its t distribution has G - 1 degrees of freedom.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from repro.metrics.base import Estimate, t_quantile


@dataclass(frozen=True, slots=True)
class ClusteredMean:
    """A mean of ``n`` images in ``clusters`` clusters with its standard error; None where there is one cluster."""

    value: float
    error: float | None
    n: int
    clusters: int

    @classmethod
    def of(cls, values: np.ndarray, clusters: Sequence[Hashable]) -> "ClusteredMean":
        """Mean of values (N,); NaN is left out.

        Args:
            values: one per image.
            clusters: the cluster of each, such as its caption.

        Raises:
            ValueError: the lengths differ, or no value is a number.
        """
        if len(values) != len(clusters):
            raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            raise ValueError(f"none of {len(values)} values is a number")
        mean, n = float(values[known].mean()), len(known)
        place = {name: index for index, name in enumerate(dict.fromkeys(clusters[i] for i in known.tolist()))}
        member = np.array([place[clusters[i]] for i in known.tolist()])
        sums = np.bincount(member, weights=values[known] - mean)
        count = len(place)
        error = (count / (count - 1) * float(np.square(sums).sum())) ** 0.5 / n if count > 1 else None
        return cls(mean, error, n, count)

    def estimate(self) -> Estimate:
        """With the 95 % interval of Student's t over clusters."""
        if self.error is None:
            return Estimate(self.value, None, None, self.n)
        half = t_quantile(self.clusters - 1) * self.error
        return Estimate(self.value, self.value - half, self.value + half, self.n)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> Estimate:
    """Weighted mean of independent values (N,) with Student's 95 % interval; equal weights give the usual one.

    Args:
        values: one per cluster.
        weights: positive, such as the degrees of freedom of each value.
    """
    count, total = len(values), float(weights.sum())
    mean = float(weights @ values / total)
    if count < 2:
        return Estimate(mean, None, None, count)
    error = (count / (count - 1) * float(np.square(weights * (values - mean)).sum())) ** 0.5 / total
    half = t_quantile(count - 1) * error
    return Estimate(mean, mean - half, mean + half, count)
