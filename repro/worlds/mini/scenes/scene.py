"""What a scene is: one to four objects of 6 shapes and 8 colours on a muted dead-leaves background.

Coordinates are fractions of the image side, x to the right and y downwards, so a scene renders at any resolution.
Everything follows from the seed: two calls of `sample_scene` with the same seed and kind give equal scenes.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from repro.worlds.mini.scenes.captions import COUNT_WORDS, RELATIONS, Caption

Kind = Literal["single", "count", "position"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Near the corners of the RGB cube, all far from the grey background, so that colour segmentation is well posed.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (230, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 70, 230),
    "yellow": (245, 225, 50),
    "cyan": (60, 215, 225),
    "pink": (250, 90, 200),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "cross", "star", "ring")

GAP = 0.03  # least free space between two objects, and between an object and the border
RADII: dict[int, tuple[float, float]] = {1: (0.21, 0.30), 2: (0.175, 0.21), 3: (0.155, 0.185), 4: (0.15, 0.175)}
JITTER = 0.06  # how far an object may lie from its slot

# Where objects stand, by their number: a small network learns shapes sooner when it need not also learn to place
# objects anywhere. Pairs stand left and right or above and below.
SLOTS: dict[int, tuple[tuple[float, float], ...]] = {
    1: ((0.5, 0.5),),
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.5, 0.27), (0.27, 0.71), (0.73, 0.71)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
}


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: its centre and circumscribed radius in fractions of the image side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Leaf:
    """One disc of the dead-leaves background; ``rgb`` in 0..255."""

    x: float
    y: float
    radius: float
    rgb: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene with its exact caption; ``leaves`` are painted first to last, then the objects."""

    seed: int
    kind: Kind
    caption: str
    objects: tuple[SceneObject, ...]
    base_rgb: tuple[float, float, float]
    leaves: tuple[Leaf, ...]


def sample_scene(seed: int, kind: Kind | None = None) -> Scene:
    """Draw a scene and its caption.

    Args:
        seed: any non-negative integer; the scene depends on it and on ``kind`` alone.
        kind: ``single`` ("a red star"), ``count`` ("three green circles") or ``position`` ("a white cross left of a
            pink square"); drawn uniformly where it is None.

    Returns:
        The scene. Objects never touch each other or the border.

    Raises:
        ValueError: the kind is unknown, or the seed is negative.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, expected one of {', '.join(KINDS)}")
    if seed < 0:
        raise ValueError(f"a scene seed is a non-negative integer, got {seed}")
    rng = np.random.default_rng(seed)
    kind = kind or KINDS[int(rng.integers(len(KINDS)))]
    caption = _sample_caption(rng, kind)
    base, leaves = _sample_background(rng)
    return Scene(seed, kind, caption.text, _place(rng, caption), base, leaves)


def _sample_caption(rng: np.random.Generator, kind: Kind) -> Caption:
    first, second = (_sample_thing(rng), _sample_thing(rng))
    if kind == "single":
        return Caption(kind, (first,))
    if kind == "count":
        return Caption(kind, (first,) * int(rng.integers(2, 2 + len(COUNT_WORDS))))
    while second == first:
        second = _sample_thing(rng)
    return Caption(kind, (first, second), relation=RELATIONS[int(rng.integers(len(RELATIONS)))])


def _sample_thing(rng: np.random.Generator) -> tuple[str, str]:
    return list(COLOURS)[int(rng.integers(len(COLOURS)))], SHAPES[int(rng.integers(len(SHAPES)))]


def _place(rng: np.random.Generator, caption: Caption) -> tuple[SceneObject, ...]:
    """Put each object near its slot, without overlap."""
    slots = slots_of(caption)
    low, high = RADII[len(slots)]
    while True:
        radii = rng.uniform(low, high, len(slots))
        margin = radii[:, None] + GAP
        centres = np.clip(slots + rng.uniform(-JITTER, JITTER, slots.shape), margin, 1 - margin)
        if _separate(centres, radii):
            return tuple(
                SceneObject(shape, colour, float(x), float(y), float(radius))
                for (colour, shape), (x, y), radius in zip(caption.things, centres, radii, strict=True)
            )


def slots_of(caption: Caption) -> np.ndarray:
    """Slot centres (N, 2) in the order of the caption's objects."""
    slots = np.array(SLOTS[len(caption.things)])
    if caption.relation in ("above", "below"):
        slots = slots[:, ::-1]
    return slots[::-1] if caption.relation in ("right of", "below") else slots


def _separate(centres: np.ndarray, radii: np.ndarray) -> bool:
    first, second = np.triu_indices(len(radii), k=1)
    distance = np.linalg.norm(centres[first] - centres[second], axis=1)
    return bool(np.all(distance >= radii[first] + radii[second] + GAP))


def _sample_background(rng: np.random.Generator) -> tuple[tuple[float, float, float], tuple[Leaf, ...]]:
    """Dead leaves: disc radii with density ~ r^-3 give an image spectrum that falls as a power law."""
    count, smallest, largest = 30, 0.05, 0.5
    base = rng.uniform(100, 140) + rng.uniform(-4, 4, 3)
    u = rng.uniform(0, 1, count)
    radii = (smallest**-2 - u * (smallest**-2 - largest**-2)) ** -0.5  # inverse of the distribution function
    centres = rng.uniform(-0.1, 1.1, (count, 2))
    rgb = base + rng.uniform(-9, 9, (count, 1)) + rng.uniform(-3, 3, (count, 3))
    leaves = tuple(
        Leaf(float(x), float(y), float(radius), _colour(colour))
        for (x, y), radius, colour in zip(centres, radii, rgb, strict=True)
    )
    return _colour(base), leaves


def _colour(rgb: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = rgb.tolist()
    return red, green, blue
