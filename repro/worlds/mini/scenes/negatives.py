"""Captions that are wrong in one word: another colour, shape or count, or the relation turned round.

What reads captions must call the scene of a caption better than the same scene under any of these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from repro.worlds.mini.scenes.captions import COLOUR_WORDS, COUNT_WORDS, SHAPE_WORDS, Caption, parse_caption

OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def changed(caption: str, change: str, seed: int) -> str:
    """A caption with one word changed; the caption itself where it has no such word.

    Args:
        caption: of the mini world.
        change: ``colour``, ``shape``, ``relation`` or ``count``.
        seed: draws the other word, and of two objects the one that changes.

    Raises:
        ValueError: no such change, or no caption of the mini world.
    """
    if change not in CHANGES:
        raise ValueError(f"a caption changes in {', '.join(CHANGES)}, not in {change!r}")
    return CHANGES[change](parse_caption(caption), np.random.default_rng(seed)).text


def _colour(meaning: Caption, rng: np.random.Generator) -> Caption:
    return _other_thing(meaning, rng, lambda thing: [(word, thing[1]) for word in COLOUR_WORDS])


def _shape(meaning: Caption, rng: np.random.Generator) -> Caption:
    return _other_thing(meaning, rng, lambda thing: [(thing[0], word) for word in SHAPE_WORDS])


def _relation(meaning: Caption, rng: np.random.Generator) -> Caption:
    return replace(meaning, relation=OPPOSITES[meaning.relation]) if meaning.relation else meaning


def _count(meaning: Caption, rng: np.random.Generator) -> Caption:
    if meaning.kind != "count":
        return meaning
    counts = [count for count in range(2, 2 + len(COUNT_WORDS)) if count != len(meaning.things)]
    return replace(meaning, things=meaning.things[:1] * int(rng.choice(counts)))


def _other_thing(
    meaning: Caption,
    rng: np.random.Generator,
    like: Callable[[tuple[str, str]], Sequence[tuple[str, str]]],
) -> Caption:
    """One thing becomes another, unlike all that are there; all objects of a count are one thing."""
    own = meaning.things[int(rng.integers(len(meaning.things)))]
    options = [thing for thing in like(own) if thing not in meaning.things]
    new = options[int(rng.integers(len(options)))]
    return replace(meaning, things=tuple(new if thing == own else thing for thing in meaning.things))


CHANGES: Mapping[str, Callable[[Caption, np.random.Generator], Caption]] = MappingProxyType(
    {"colour": _colour, "shape": _shape, "relation": _relation, "count": _count}
)
