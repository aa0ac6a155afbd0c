"""Reads a scene back from its pixels: colour segmentation, connected components, shape templates."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from repro.worlds.mini.scenes.captions import parse_caption
from repro.worlds.mini.scenes.render import coverage
from repro.worlds.mini.scenes.scene import COLOURS, SHAPES

_PALETTE = np.array(list(COLOURS.values()), np.float32)
_NAMES = tuple(COLOURS)
_GREY = (85.0, 160.0)  # where on the grey axis the background may lie
_CONNECTED = np.ones((3, 3), int)  # diagonal neighbours belong together


@dataclass(frozen=True, slots=True)
class Reading:
    """One object as the oracle sees it: ``fit`` is the overlap (IoU) with the best template, in [0, 1]."""

    colour: str
    shape: str
    x: float
    y: float
    area: int
    fit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOracle:
    """Says which objects an image shows and whether a caption holds.

    ``min_area`` is a share of the image: smaller components are specks. An object whose best template overlaps less
    than ``min_fit`` has no recognisable shape.
    """

    min_area: float = 0.006
    min_fit: float = 0.6

    def read(self, image: np.ndarray) -> list[Reading]:
        """Find the objects.

        Args:
            image: (H, W, 3), uint8.

        Returns:
            One reading per component of a palette colour, largest first.

        Raises:
            ValueError: the image is not (H, W, 3) uint8.
        """
        labels = segment(image)
        readings = [reading for index in range(len(_NAMES)) for reading in self._components(labels == index, index)]
        return sorted(readings, key=lambda reading: -reading.area)

    def check(self, image: np.ndarray, caption: str) -> bool:
        """Whether the image shows exactly what the caption says: the objects, no others, and their relation.

        Raises:
            ValueError: the caption is not one of the mini world's.
        """
        return self.fit(image, caption) >= self.min_fit

    def fit(self, image: np.ndarray, caption: str) -> float:
        """The largest ``min_fit`` at which the caption holds: that of the worst object. NaN where it holds at none.

        Raises:
            ValueError: the caption is not one of the mini world's.
        """
        expected = parse_caption(caption)
        readings = self.read(image)
        if sorted((reading.colour, reading.shape) for reading in readings) != sorted(expected.things):
            return float("nan")
        if expected.relation is not None:
            place = {(reading.colour, reading.shape): (reading.x, reading.y) for reading in readings}
            if not expected.relation_holds(np.array([place[thing] for thing in expected.things])):
                return float("nan")
        return min(reading.fit for reading in readings)

    def _components(self, mask: np.ndarray, colour: int) -> list[Reading]:
        components, _ = ndimage.label(mask, _CONNECTED)
        readings = []
        for index, window in enumerate(ndimage.find_objects(components), start=1):
            part = components[window] == index
            if (area := int(part.sum())) >= self.min_area * mask.size:
                shape, fit, centre = _match_shape(np.pad(part, 2))
                y, x = (centre[axis] - 2 + window[axis].start for axis in (0, 1))
                readings.append(Reading(_NAMES[colour], shape, x / mask.shape[1], y / mask.shape[0], area, fit))
        return readings


def segment(image: np.ndarray) -> np.ndarray:
    """Label each pixel with the index of the nearest palette colour, or -1 where grey is nearer.

    Raises:
        ValueError: the image is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected an image (H, W, 3) of uint8, got {image.shape} of {image.dtype}")
    pixels = image.astype(np.float32)
    distance = np.linalg.norm(pixels[:, :, None] - _PALETTE, axis=-1)
    grey = np.clip(pixels.mean(-1, keepdims=True), *_GREY)
    nearest = distance.argmin(-1)
    return np.where(distance.min(-1) < np.linalg.norm(pixels - grey, axis=-1), nearest, -1)


def _match_shape(mask: np.ndarray) -> tuple[str, float, tuple[float, float]]:
    """Best template for a component: each is laid on the component's bounding box and on its area."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    best = ("", -1.0, (0.0, 0.0))
    for shape in SHAPES:
        x_low, x_high, y_low, y_high = _EXTENTS[shape]
        radius = ((right - left) + (bottom - top)) / (x_high - x_low + y_high - y_low)
        centre_x = (left + right) / 2 - radius * (x_low + x_high) / 2
        centre_y = (top + bottom) / 2 - radius * (y_low + y_high) / 2
        y, x = (np.arange(side) + 0.5 for side in mask.shape)
        template = coverage(shape, x[None, :] - centre_x, y[:, None] - centre_y, radius)
        fit = float(np.minimum(template, mask).sum() / np.maximum(template, mask).sum())
        if fit > best[1]:
            best = (shape, fit, (centre_y, centre_x))
    return best


def _extent(shape: str) -> tuple[float, float, float, float]:
    """Bounding box (x low, x high, y low, y high) of a shape of radius 1, measured on a fine grid."""
    axis = np.linspace(-1.05, 1.05, 421)
    inside = coverage(shape, 200 * axis[None, :], 200 * axis[:, None], 200.0) > 0.5
    x, y = axis[inside.any(0)], axis[inside.any(1)]
    return float(x[0]), float(x[-1]), float(y[0]), float(y[-1])


_EXTENTS = {shape: _extent(shape) for shape in SHAPES}
