"""Captions of the mini world, as text and as meaning.

Three forms: "a red star", "three green circles", "a white cross left of a pink square".
"""

import re
from dataclasses import dataclass

import numpy as np

COUNT_WORDS: tuple[str, ...] = ("two", "three", "four")
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
COLOUR_WORDS = ("red", "green", "blue", "yellow", "cyan", "pink", "white", "black")
SHAPE_WORDS = ("circle", "square", "triangle", "cross", "star", "ring")
_PLURALS = {shape: f"{shape}es" if shape.endswith("s") else f"{shape}s" for shape in SHAPE_WORDS}
_SINGULARS = {plural: shape for shape, plural in _PLURALS.items()}

CAPTION_WORDS: tuple[str, ...] = (
    *("a", "of", "left", "right", "above", "below"),
    *COUNT_WORDS,
    *COLOUR_WORDS,
    *SHAPE_WORDS,
    *_PLURALS.values(),
)


@dataclass(frozen=True, slots=True)
class Caption:
    """The meaning of a caption: ``things`` are (colour, shape) pairs, one per object."""

    kind: str
    things: tuple[tuple[str, str], ...]
    relation: str | None = None

    @property
    def text(self) -> str:
        """The caption in words."""
        colour, shape = self.things[0]
        if self.kind == "count":
            return f"{COUNT_WORDS[len(self.things) - 2]} {colour} {_PLURALS[shape]}"
        phrases = [f"a {colour} {shape}" for colour, shape in self.things]
        return f" {self.relation} ".join(phrases)

    def relation_holds(self, centres: np.ndarray) -> bool:
        """Whether the first centre stands to the second as the caption says, rather along that axis than across it.

        Args:
            centres: (2, 2) x and y in fractions of the image side, y downwards; ignored where there is no relation.
        """
        return self.relation_share(centres) >= 1

    def relation_share(self, centres: np.ndarray) -> float:
        """How well the relation holds, in [0, 1]: 1 where it holds, falling to 0 as the first centre moves across.

        It is the distance along the axis over the distance across it, where that is below 1 and the side is right.

        Args:
            centres: (2, 2) x and y, y downwards.
        """
        if self.relation is None:
            return 1.0
        dx, dy = centres[0] - centres[1]
        along = {"left of": -dx, "right of": dx, "above": -dy, "below": dy}[self.relation]
        across = abs(dy if self.relation in ("left of", "right of") else dx)
        if along >= across:
            return 1.0
        return float(along / across) if along > 0 else 0.0


_COLOUR, _SHAPE = "|".join(COLOUR_WORDS), "|".join(SHAPE_WORDS)
_THING = rf"a ({_COLOUR}) ({_SHAPE})"
_SINGLE = re.compile(_THING)
_COUNT = re.compile(rf"({'|'.join(COUNT_WORDS)}) ({_COLOUR}) ({'|'.join(_PLURALS.values())})")
_POSITION = re.compile(rf"{_THING} ({'|'.join(RELATIONS)}) {_THING}")


def parse_caption(text: str) -> Caption:
    """Read a caption back; the inverse of `Caption.text`.

    Raises:
        ValueError: the text is not a caption of the mini world.
    """
    if match := _SINGLE.fullmatch(text):
        return Caption("single", ((match[1], match[2]),))
    if match := _COUNT.fullmatch(text):
        count = COUNT_WORDS.index(match[1]) + 2
        return Caption("count", ((match[2], _SINGULARS[match[3]]),) * count)
    if match := _POSITION.fullmatch(text):
        return Caption("position", ((match[1], match[2]), (match[4], match[5])), relation=match[3])
    raise ValueError(f"not a caption of the mini world: {text!r}; expected e.g. 'a red star' or 'two blue rings'")
