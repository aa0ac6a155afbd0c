"""Distances of a whole set of images that share one encoding.

Each image passes the network once for FID, KID and others. A pass leaves the features, "<key>.features" (N, D)
float32; every distance reads them from there, block by block.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from repro.metrics.base import Estimate, Measured, Prompt, WeightsError
from repro.metrics.reference import Features


class SetDistance(Protocol):
    """A number of a set of features: `Fid`, `Kid`, `Cmmd`, `Diversity`."""

    key: str

    def inputs(self) -> Mapping[str, Any]:
        """What it follows from besides the features."""
        ...

    def estimates(self, measured: Measured, name: str) -> dict[str, Estimate]:
        """Estimates from the features ``name``, by record key."""
        ...


class FeatureDistances:
    """A metric that encodes images once and answers with several distances.

    Args:
        features: the network with its preprocessing.
        distances: of these features; their keys become record keys.
        key: of the metric; the features are "<key>.features".

    Raises:
        ValueError: no distance, or two of one key.
    """

    def __init__(self, features: Features, distances: Sequence[SetDistance], *, key: str) -> None:
        keys = [distance.key for distance in distances]
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(f"{key} needs distances with keys of their own, got {keys}")
        self.key = key
        self.features, self._distances = features, tuple(distances)

    def inputs(self) -> dict[str, Any]:
        """Network, recipe, weights, and what each distance adds."""
        return {
            "features": self.features.inputs(),
            "distances": {distance.key: dict(distance.inputs()) for distance in self._distances},
        }

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Features (B, D) of one batch.

        Raises:
            WeightsError: a feature is not finite; the image is named.
        """
        found = self.features(images)
        for index in np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist():
            name = prompts[index].get("id", index)
            raise WeightsError(f"{self.key}: features of image {name} are not finite ({self.features.name})")
        return {self.name: found}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """All distances."""
        return {
            key: estimate
            for distance in self._distances
            for key, estimate in distance.estimates(measured, self.name).items()
        }

    def distance(self, key: str) -> SetDistance:
        """One of the distances.

        Raises:
            KeyError: there is none of that key.
        """
        return {distance.key: distance for distance in self._distances}[key]

    @property
    def name(self) -> str:
        """Of the features in what a pass leaves."""
        return f"{self.key}.features"
