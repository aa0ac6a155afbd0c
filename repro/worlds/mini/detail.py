"""Detail: power of the upper octave against that of the scene behind the caption, seen through the VAE.

    detail = log(P(image) / P(real)),   P: mean power of the frequencies from 1/4 to 1/2 cycle per pixel

Pixels lie in [-1, 1]. Both sides have passed the same decoder, so its own loss cancels. 0 is the power of real scenes;
below it an image is softer, above it harder. It is a deviation with a best value in the middle, not a score: a row may
reach 0 by chance of two errors, so no claim says that one row has more of it than another.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from repro.metrics.base import Estimate, Measured, Prompt, pixels
from repro.metrics.clusters import ClusteredMean
from swd.spectra import radial_spectrum

VERSION = 1  # raise it when the same images get other values
LOWEST = 0.25  # cycles per pixel
LEAST = 1e-10  # power of an image without any: a fiftieth of what one level in one pixel leaves
TOP = 29 / 64  # of the highest of eight bands of an image of 64 px: rings 29 to 32

Draw = Callable[[Sequence[Prompt]], Tensor]
"""The real images behind prompts as the VAE shows them, (B, 3, H, W) in [-1, 1]."""


def upper_power(images: Tensor, lowest: float = LOWEST) -> np.ndarray:
    """Mean power from ``lowest`` to 1/2 cycle per pixel of images (B, 3, H, W) in [-1, 1], (B,); without corners."""
    spectrum = radial_spectrum(images)
    rings = (spectrum.frequency >= lowest) & spectrum.inscribed
    share = spectrum.population[rings] / spectrum.population[rings].sum()
    return (spectrum.power[..., rings] * share).sum(-1).mean(1).double().numpy()


class Detail:
    """Mean log ratio of upper-octave power to the real scenes'.

    Args:
        real: draws the real images; asked once for each prompt.
        key: record key.
        reference: what ``real`` follows from, such as the hash of the VAE.
    """

    def __init__(self, real: Draw, *, reference: dict[str, Any], key: str = "detail") -> None:
        self.key = key
        self._real, self._reference = real, reference
        self._known: dict[tuple[str, int], float] = {}

    def inputs(self) -> dict[str, Any]:
        """The band, what the reference follows from, and the version."""
        return {"band": [LOWEST, 0.5], "reference": self._reference, "version": VERSION}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Log ratio of each image, (B,)."""
        theirs = np.maximum(upper_power(pixels(images).float() / 127.5 - 1), LEAST)
        return {self.key: np.log(theirs / self._powers(prompts))}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Mean with its interval over captions."""
        captions = [str(prompt["caption"]) for prompt in measured.prompts]
        return {self.key: ClusteredMean.of(measured.column(self.key), captions).estimate()}

    def _powers(self, prompts: Sequence[Prompt]) -> np.ndarray:
        names = [(str(prompt["kind"]), int(prompt["seed"])) for prompt in prompts]
        if new := [prompt for prompt, name in zip(prompts, names, strict=True) if name not in self._known]:
            with torch.no_grad():
                found = upper_power(self._real(new))
            self._known.update(
                {(str(p["kind"]), int(p["seed"])): float(power) for p, power in zip(new, found, strict=True)}
            )
        return np.array([self._known[name] for name in names])


class TopBand:
    """Mean power from 29/64 to 1/2 cycle per pixel: what a VAE loses first.

    Args:
        key: record key.
    """

    def __init__(self, *, key: str = "top_band") -> None:
        self.key = key

    def inputs(self) -> dict[str, Any]:
        """The band and the version."""
        return {"band": [TOP, 0.5], "version": VERSION}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """Power of each image, (B,)."""
        return {self.key: upper_power(pixels(images).float() / 127.5 - 1, TOP)}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Mean with its interval over captions."""
        captions = [str(prompt["caption"]) for prompt in measured.prompts]
        return {self.key: ClusteredMean.of(measured.column(self.key), captions).estimate()}
