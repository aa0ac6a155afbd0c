"""A metric in place of people: of two images the one with the better score wins. Never mixed with votes."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from repro.harness.effects import captions_of
from repro.harness.schema import RecordSet
from repro.harness.votes.files import VoteError, text_of
from repro.harness.votes.outcomes import Outcomes, Place

Scores = Mapping[str, Mapping[Place, float]]
"""System -> prompt and image -> score."""
HEADER = ["prompt", "image", "system", "score"]


def points(candidate: float, baseline: float, *, margin: float, sign: float) -> float:
    """1 if the candidate's score is better by at least the margin, 0 if it is worse by as much, else 1/2.

    Args:
        candidate: score of an image.
        baseline: score of the other, of the same prompt.
        margin: positive, in the unit of the scores.
        sign: +1 where higher is better, -1 where lower is.
    """
    difference = sign * (candidate - baseline)
    return 1.0 if difference >= margin else 0.0 if difference <= -margin else 0.5


def proxy_outcomes(scores: Scores, candidate: str, baseline: str, *, margin: float, sign: float) -> Outcomes:
    """What the scores say of every image that both systems have one of."""
    first, second = scores.get(candidate, {}), scores.get(baseline, {})
    both = first.keys() & second.keys()
    return Outcomes.of({place: points(first[place], second[place], margin=margin, sign=sign) for place in both})


def scores_of(records: RecordSet, metric: str, systems: Sequence[str], seed: int) -> Scores:
    """Values per image of a records file: prompt ``<set>/<caption>``, image the how-manieth of that caption."""
    found: dict[str, dict[Place, float]] = {}
    for line in records.per_image:
        if line.variant in systems and line.metric == metric and line.seed == seed:
            places = _places(records, line.prompts, len(line.values))
            known = zip(places, line.values, strict=True)
            found.setdefault(line.variant, {}).update({at: value for at, value in known if value is not None})
    return found


def read_scores(path: Path) -> Scores:
    """Scores of the images of a study, from a CSV with the columns prompt, image, system and score.

    Raises:
        VoteError: the file cannot be read, or its first bad line.
    """
    found: dict[str, dict[Place, float]] = {}
    rows = csv.reader(io.StringIO(text_of(path).rstrip(), newline=""), strict=True)
    if (header := next(rows, [])) != HEADER:
        raise VoteError(f"{path}:1: expected the columns {', '.join(HEADER)}, got {', '.join(header)}")
    for cells in rows:
        try:
            prompt, image, system, score = cells
            place, value = (prompt, int(image)), float(score)
        except ValueError as error:
            raise VoteError(f"{path}:{rows.line_num}: {error}") from None
        if not math.isfinite(value):
            raise VoteError(f"{path}:{rows.line_num}: score {score!r} is not finite")
        if place in found.setdefault(system, {}):
            raise VoteError(f"{path}:{rows.line_num}: another score of image {image} of prompt {prompt} by {system}")
        found[system][place] = value
    return found


def _places(records: RecordSet, prompts: str, images: int) -> list[Place]:
    captions = captions_of(records, prompts)
    numbers = np.arange(images) if captions is None else captions
    seen: dict[int, int] = {}
    places = []
    for number in map(int, numbers):
        seen[number] = seen.get(number, -1) + 1
        places.append((f"{prompts}/{number:04d}", seen[number]))
    return places
