"""How well an image draws what its caption says: overlap, contour and colour of each captioned object, all continuous.

Where `SceneOracle.check` says yes or no, this measures. Each captioned object is looked for among the components of its
colour; its own shape is laid on the component at the place and size that fit best, to fractions of a pixel:

    alpha = clip(<p - b, c - b> / |c - b|^2, 0, 1)      share of the object in pixel p, c its colour, b the background
    overlap = sum min(alpha, T) / sum max(alpha, T)     T: coverage of the fitted template
    contour = sum |alpha - T| / length of T's outline   in pixels
    colour  = mean |p - palette colour| over the core   in levels of 0 to 255, |.| Euclidean in RGB

The score of an image is the mean overlap of its captioned objects, where each object that is missing or that nobody
asked for counts 0, times how well the relation holds: 1 inside the oracle's sector, falling to 0 at a right angle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from repro.worlds.mini.scenes.captions import parse_caption
from repro.worlds.mini.scenes.oracle import segment
from repro.worlds.mini.scenes.render import signed_distance
from repro.worlds.mini.scenes.scene import COLOURS, SHAPES

MARGIN = 4  # pixels around a component that are compared with its template, as far as no other one is nearer
FIT_STEPS = 3
MID_GREY = 122.0
WORST = 441.0  # distance of black and white in RGB
CORE = 0.999  # share of the template that a pixel of the core has
_NAMES = tuple(COLOURS)
_CONNECTED = np.ones((3, 3), int)


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """A captioned object as it was found: place and radius in pixels, errors as in the module's text."""

    x: float
    y: float
    radius: float
    overlap: float
    contour: float
    colour: float


@dataclass(frozen=True, slots=True)
class Grade:
    """An image against its caption: ``objects`` are those of the caption, in order, None where one is missing."""

    score: float
    objects: tuple[DrawnObject | None, ...]
    extra: int
    relation: float


@dataclass(frozen=True, slots=True)
class _Blob:
    """A component in a window whose corner lies at ``left``, ``top``.

    Attributes:
        colour: name of its palette colour.
        alpha: soft mask (H, W), 0 where another component is nearer.
        mine: (H, W), 1.0 where this component is the nearest.
        pixels: (H, W, 3).
    """

    colour: str
    alpha: np.ndarray
    mine: np.ndarray
    pixels: np.ndarray
    left: int
    top: int


def grade(image: np.ndarray, caption: str, *, min_area: float = 0.006) -> Grade:
    """Measure an image against its caption.

    Args:
        image: (H, W, 3), uint8.
        caption: of the mini world.
        min_area: share of the image below which a component is a speck.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or the caption is not one of the mini world's.
    """
    expected = parse_caption(caption)
    labels = segment(image)
    blobs = _blobs(image.astype(np.float64), labels, min_area * labels.size)
    objects: list[DrawnObject | None] = [None] * len(expected.things)
    for colour in {colour for colour, _ in expected.things}:
        wanted = [index for index, thing in enumerate(expected.things) if thing[0] == colour]
        there = [blob for blob in blobs if blob.colour == colour]
        shapes = {expected.things[index][1] for index in wanted}
        drawn = {shape: [_draw(blob, shape) for blob in there] for shape in shapes}
        for row, column in _assign([drawn[expected.things[index][1]] for index in wanted]):
            objects[wanted[row]] = drawn[expected.things[wanted[row]][1]][column]
    here = [item for item in objects if item is not None]
    relation = 1.0
    if expected.relation and len(here) == len(objects):
        relation = expected.relation_share(np.array([(item.x, item.y) for item in here]))
    overlap = sum(item.overlap for item in here) / max(len(objects), len(blobs))
    return Grade(relation * overlap, tuple(objects), len(blobs) - len(here), relation)


def _assign(drawn: Sequence[Sequence[DrawnObject]]) -> list[tuple[int, int]]:
    """Pairs (captioned object, component) of the largest total overlap."""
    if not drawn or not drawn[0]:
        return []
    overlaps = np.array([[item.overlap for item in row] for row in drawn])
    return list(zip(*(index.tolist() for index in linear_sum_assignment(-overlaps)), strict=True))


def _background(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Median colour (3,) of what belongs to no object and touches none; mid grey where objects leave nothing."""
    free = ~ndimage.binary_dilation(labels >= 0, _CONNECTED, iterations=2)
    rest: np.ndarray = np.median(pixels[free], axis=0) if free.any() else np.full(3, MID_GREY)
    return rest


def _blobs(pixels: np.ndarray, labels: np.ndarray, min_area: float) -> list[_Blob]:
    """Components that are no specks; a speck belongs to what surrounds it."""
    parts = np.zeros(labels.shape, int)
    colours: list[str] = []
    for index, colour in enumerate(_NAMES):
        components, count = ndimage.label(labels == index, _CONNECTED)
        for component in range(1, count + 1):
            if (inside := components == component).sum() >= min_area:
                colours.append(colour)
                parts[inside] = len(colours)
    if not colours:
        return []
    background = _background(pixels, labels)
    rows, columns = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    owner = parts[rows, columns]
    windows = enumerate(ndimage.find_objects(parts), start=1)
    return [_blob(colours[index - 1], pixels, (parts == index, owner == index), background, w) for index, w in windows]


def _blob(
    colour: str,
    pixels: np.ndarray,
    masks: tuple[np.ndarray, np.ndarray],
    background: np.ndarray,
    window: tuple[slice, slice],
) -> _Blob:
    """Cut one component out; ``masks`` are the component and the pixels that are nearest to it."""
    wide = (_wider(window[0], len(pixels)), _wider(window[1], pixels.shape[1]))
    part, mine, seen = masks[0][wide], masks[1][wide].astype(np.float64), pixels[wide]
    core = ndimage.binary_erosion(part)
    own = np.median(seen[core if core.any() else part], axis=0)
    return _Blob(colour, mine * _soft_mask(seen, own, background), mine, seen, wide[1].start, wide[0].start)


def _wider(span: slice, size: int) -> slice:
    return slice(max(0, span.start - MARGIN), min(size, span.stop + MARGIN))


def _soft_mask(pixels: np.ndarray, colour: np.ndarray, background: np.ndarray) -> np.ndarray:
    axis = colour - background
    alpha: np.ndarray = np.clip((pixels - background) @ axis / (axis @ axis), 0, 1)
    return alpha


def _draw(blob: _Blob, shape: str) -> DrawnObject:
    """Fit a shape to a component and measure what is left."""
    place = _fit(shape, blob)
    x, y, radius = place.tolist()
    template = blob.mine * np.clip(0.5 - _distance(shape, place, blob.alpha.shape)[2], 0, 1)
    missed = np.abs(blob.alpha - template).sum()
    core = template >= CORE
    error = np.linalg.norm(blob.pixels[core] - COLOURS[blob.colour], axis=-1) if core.any() else np.array([WORST])
    return DrawnObject(
        x + blob.left,
        y + blob.top,
        radius,
        float(np.minimum(blob.alpha, template).sum() / np.maximum(blob.alpha, template).sum()),
        float(missed / (_UNITS[shape].outline * radius)),
        float(error.mean()),
    )


def _fit(shape: str, blob: _Blob) -> np.ndarray:
    """Centre and radius (3,) in pixels: from area and centroid, then Gauss-Newton on the squared difference."""
    alpha = blob.alpha
    unit, total = _UNITS[shape], alpha.sum()
    y, x = (np.arange(side) + 0.5 for side in alpha.shape)
    radius = float(np.sqrt(total / unit.area))
    place = np.array([alpha.sum(0) @ x / total - unit.x * radius, alpha.sum(1) @ y / total - unit.y * radius, radius])
    best, least = place, np.inf
    for _ in range(FIT_STEPS + 1):
        template, slopes = _linearised(shape, place, alpha.shape)
        rest = blob.mine * (alpha - template)
        slopes = slopes * blob.mine.ravel()
        if (size := float(np.square(rest).sum())) >= least:
            break
        best, least = place, size
        place = place + np.linalg.solve(slopes @ slopes.T + 1e-6 * np.eye(3), slopes @ rest.ravel())
        place[2] = np.clip(place[2], 1.0, max(alpha.shape))
    return best


def _linearised(shape: str, place: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A template (H, W) and how it changes with x, y and radius, (3, H W).

    Only the outline moves. A signed distance d has d(x; r) = r d(x / r; 1), so its slope by r is (d - <x, grad d>) / r.
    """
    x, y, distance = _distance(shape, place, size)
    by_y, by_x = np.gradient(distance)
    by_radius = (distance - x * by_x - y * by_y) / place[2]
    edge = (np.abs(distance) < 0.5).astype(np.float64)
    return np.clip(0.5 - distance, 0, 1), np.stack([edge * by_x, edge * by_y, -edge * by_radius]).reshape(3, -1)


def _distance(shape: str, place: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets (1, W) and (H, 1) from the centre and the signed distance (H, W) from the outline."""
    x, y, radius = place.tolist()
    across, down = np.arange(size[1])[None, :] + 0.5 - x, np.arange(size[0])[:, None] + 0.5 - y
    return across, down, signed_distance(shape, across, down, radius)


@dataclass(frozen=True, slots=True)
class _Unit:
    """A shape of radius 1: its area, centroid and length of outline."""

    area: float
    x: float
    y: float
    outline: float


def _unit(shape: str, radius: float = 360.0) -> _Unit:
    """Measured on a fine grid; the outline is how the area grows as all of it moves outwards."""
    axis = np.arange(-1.2 * radius, 1.2 * radius + 1)
    distance = signed_distance(shape, axis[None, :], axis[:, None], radius)
    filled = np.clip(0.5 - distance, 0, 1)
    area = filled.sum()
    x, y = (filled.sum(side) @ axis / area for side in (0, 1))
    outline = (np.clip(3.5 - distance, 0, 1).sum() - np.clip(-2.5 - distance, 0, 1).sum()) / 6
    return _Unit(float(area / radius**2), float(x / radius), float(y / radius), float(outline / radius))


_UNITS = {shape: _unit(shape) for shape in SHAPES}
