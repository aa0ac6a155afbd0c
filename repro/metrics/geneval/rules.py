"""The rules of GenEval: from objects that were found to a verdict.

1. Of each class, objects are taken in falling confidence, above 0.3, or above 0.9 where things are counted, 16 at most.
   Overlapping ones can be left out; as published, none are (a greatest overlap of 1).
2. An inclusion "n of a class" looks at the n most confident. All of them must have the colour that is asked for, and
the
   position relative to all objects of the inclusion it refers to.
3. An exclusion "n of a class" fails where n or more were found.

A is left of B where the offset of centres o = a - b, shortened in each axis by 0.1 (size of A + size of B) towards 0
and divided by
|o|, is below -0.5 in x; the others likewise. Boxes are (x0, y0, x1, y1) in pixels, y downwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repro.metrics.geneval.names import COLORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Numbers of the rules, as published.

    Attributes:
        confidence: objects above it are there.
        counting: the same, of prompts that count.
        most: objects of a class, at most.
        overlap: of two objects of a class with this IoU or more, the less confident is left out; 1 leaves out none.
        position: margin, in sizes of the objects.
    """

    confidence: float = 0.3
    counting: float = 0.9
    most: int = 16
    overlap: float = 1.0
    position: float = 0.1


@dataclass(frozen=True, slots=True)
class Found:
    """An object: its box (4,), confidence in [0, 1], and mask (H, W) of bool where there is one."""

    box: np.ndarray
    score: float
    mask: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an image shows what was asked for, and what is wrong with it if not."""

    correct: bool
    reasons: tuple[str, ...]


Namer = Callable[[Sequence[Found], str], Sequence[str]]
"""Names the colours of objects of a class."""


def select(found: Sequence[Found], tag: str, thresholds: Thresholds) -> list[Found]:
    """Objects of one class that count as seen, the most confident first."""
    least = thresholds.counting if tag == "counting" else thresholds.confidence
    order = np.argsort([item.score for item in found])[::-1]
    waiting = [found[index] for index in order if found[index].score > least][: thresholds.most]
    kept: list[Found] = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        if thresholds.overlap < 1:
            waiting = [other for other in waiting if iou(best.box, other.box) < thresholds.overlap]
    return kept


def judge(
    seen: Mapping[str, Sequence[Found]], wanted: Mapping[str, Any], colors: Namer, *, margin: float = 0.1
) -> Verdict:
    """Compare what is seen with what was asked for.

    Args:
        seen: objects by class, the most confident first (`select`).
        wanted: the object of GenEval's file, with ``include`` and perhaps ``exclude``.
        colors: names the colours of objects; asked only where a colour matters.
        margin: of positions.
    """
    reasons: list[str] = []
    groups: list[Sequence[Found] | None] = []
    for item in wanted.get("include", ()):
        objects = seen.get(item["class"], ())[: item["count"]]
        problem = _missing(objects, item, colors) or _misplaced(objects, item, groups, margin)
        reasons += [problem] if problem else []
        groups.append(None if problem else objects)
    for item in wanted.get("exclude", ()):
        number = len(seen.get(item["class"], ()))
        if number >= item["count"]:
            reasons.append(f"expected {item['class']}<{item['count']}, found {number}")
    return Verdict(not reasons, tuple(reasons))


def relations(box: np.ndarray, target: np.ndarray, margin: float) -> list[str]:
    """Where a box (4,) lies relative to another, both (x0, y0, x1, y1): none, one or two words."""
    offset = (box[:2] + box[2:] - target[:2] - target[2:]) / 2
    sizes = np.abs(box[2:] - box[:2]) + np.abs(target[2:] - target[:2])
    beyond = np.maximum(np.abs(offset) - margin * sizes, 0) * np.sign(offset)
    if np.all(np.abs(beyond) < 1e-3):
        return []
    x, y = beyond / np.linalg.norm(offset)
    words = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return [word for word, holds in words.items() if holds]


def iou(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of boxes whose corners are pixels inside them, so that sides are one pixel longer."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:4], other[2:4])
    shared = float(np.prod(np.maximum(high - low + 1, 0)))
    both = sum(float(np.prod(np.maximum(each[2:4] - each[:2] + 1, 0))) for each in (box, other)) - shared
    return shared / both if both else 0.0


def _missing(objects: Sequence[Found], item: Mapping[str, Any], colors: Namer) -> str:
    name, count = item["class"], item["count"]
    if len(objects) < count:
        return f"expected {name}>={count}, found {len(objects)}"
    if "color" not in item:
        return ""
    named, color = list(colors(objects, name)), item["color"]
    if named.count(color) >= count:
        return ""
    others = ", ".join(f"{named.count(each)} {each}" for each in COLORS if each in named)
    return f"expected {color} {name}>={count}, found {named.count(color)} {color}; and {others}"


def _misplaced(
    objects: Sequence[Found], item: Mapping[str, Any], groups: Sequence[Sequence[Found] | None], margin: float
) -> str:
    if "position" not in item:
        return ""
    relation, number = item["position"]
    targets = groups[number]
    if targets is None:
        return f"no target for {item['class']} to be {relation}"
    for found in objects:
        for target in targets:
            there = relations(found.box[:4], target.box[:4], margin)
            if relation not in there:
                return f"expected {item['class']} {relation} target, found {' and '.join(there)} target"
    return ""
