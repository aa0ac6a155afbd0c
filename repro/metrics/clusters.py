"""Means over images of which some belong together: several images of one caption are not independent draws.

With x_i of cluster g(i), mean m over n images and G clusters, the variance of m is (Liang and Zeger, 1986)

    G / (G - 1) * sum_g (sum_{i in g} (x_i - m))^2 / n^2

which is s^2 / n where every cluster holds one image. Its t distribution has G - 1 degrees of freedom.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from repro.harness.inference import clustered_error
from repro.metrics.base import CONFIDENCE, Estimate, t_quantile


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
        error = clustered_error(values[known], member)
        return cls(mean, error, n, len(place))

    def estimate(self) -> Estimate:
        """With the 95 % interval of Student's t over clusters."""
        if self.error is None:
            return Estimate(self.value, None, None, self.n)
        half = t_quantile(self.clusters - 1) * self.error
        return Estimate(self.value, self.value - half, self.value + half, self.n)


def clustered_share(hits: np.ndarray, clusters: Sequence[Hashable]) -> Estimate:
    """Share of true entries in (N,) with Wilson's interval for as many images as the clusters are worth.

    That is N over the design effect, p (1 - p) / var(p) where the variance is that of the clusters, and no more than N;
    where all entries are alike, which says nothing of it, the number of clusters (Korn and Graubard, 1998).
    """
    found = ClusteredMean.of(hits.astype(np.float64), clusters)
    variance = found.value * (1 - found.value)
    worth = min(found.n, variance / found.error**2) if variance and found.error else float(found.clusters)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre = (found.value + z**2 / (2 * worth)) / (1 + z**2 / worth)
    half = z / (1 + z**2 / worth) * (variance / worth + z**2 / (4 * worth**2)) ** 0.5
    return Estimate(found.value, max(0.0, centre - half), min(1.0, centre + half), found.n)
