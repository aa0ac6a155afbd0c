"""What came of each image of a pair of systems: a win, a loss, or half a win, by the majority of its assessors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from repro.harness.votes.vote import Vote

Array = NDArray[np.float64]
Answer = Literal["candidate", "baseline", "tie"]
Place = tuple[str, int]
POINTS: Mapping[Answer, float] = {"candidate": 1.0, "tie": 0.5, "baseline": 0.0}


@dataclass(frozen=True)
class Outcomes:
    """Points of a candidate against a baseline, an entry for each image of a prompt, by prompt and image.

    Args:
        points: 1 for a win, 0 for a loss, 1/2 for a tie or no majority, (n,).
        prompts: of each image, (n,), whatever numbers.
        places: prompt and image of each entry.
    """

    points: Array
    prompts: NDArray[np.int64]
    places: tuple[Place, ...]

    @classmethod
    def of(cls, points: Mapping[Place, float]) -> "Outcomes":
        """From points by prompt and image, in any order."""
        places = tuple(sorted(points))
        _, prompts = np.unique(np.array([prompt for prompt, _ in places], dtype=str), return_inverse=True)
        return cls(np.array([points[place] for place in places], dtype=float), prompts.reshape(-1), places)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Wins, halves, losses."""
        wins, halves, losses = (int((self.points == value).sum()) for value in (1.0, 0.5, 0.0))
        return wins, halves, losses

    @property
    def by_prompt(self) -> tuple[Array, Array]:
        """Points and images of each prompt, both (P,)."""
        return np.bincount(self.prompts, self.points).astype(float), np.bincount(self.prompts).astype(float)

    def mirrored(self) -> "Outcomes":
        """Of the baseline against the candidate."""
        return replace(self, points=1.0 - self.points)


def studied(votes: Iterable[Vote]) -> list[Vote]:
    """Votes about pairs of the study: attention checks say something of assessors alone."""
    return [vote for vote in votes if not vote.expected]


def answer(vote: Vote, candidate: str) -> Answer:
    """Which system a vote prefers."""
    if vote.choice == "tie":
        return "tie"
    chosen = vote.left if vote.choice == "left" else vote.right
    return "candidate" if chosen == candidate else "baseline"


def answers(votes: Iterable[Vote], candidate: str, baseline: str, criterion: str) -> dict[Place, list[Answer]]:
    """Answers about each image of a pair under one criterion, attention checks left out."""
    found: dict[Place, list[Answer]] = {}
    for vote in studied(votes):
        if vote.criterion == criterion and {vote.left, vote.right} == {candidate, baseline}:
            found.setdefault((vote.prompt, vote.image), []).append(answer(vote, candidate))
    return found


def majority(given: Iterable[Answer]) -> float:
    """Points that answers to one question give: an answer of more than half of them decides, else half a win.

    Of three assessors two decide; a tie that two of them see is half, and so are three different answers.
    """
    given = list(given)
    decided = (name for name in POINTS if 2 * given.count(name) > len(given))
    return POINTS[next(decided, "tie")]


def outcomes(votes: Iterable[Vote], candidate: str, baseline: str, criterion: str) -> Outcomes:
    """The majority of every image; empty where nobody was asked about this pair and criterion."""
    found = answers(votes, candidate, baseline, criterion)
    return Outcomes.of({place: majority(given) for place, given in found.items()})
