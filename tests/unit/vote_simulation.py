"""Assessors who do not exist, with preferences that are known: what tests of the analysis are made with.

An assessor prefers the left image with odds exp(+d/2), the right with exp(-d/2), and sees a tie with odds nu, where
d = theta_left - theta_right + side; theta of a system on a prompt is its strength plus spread times a normal number
that all images of the prompt share. Careless assessors answer whatever comes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from repro.harness.votes.outcomes import Array
from repro.harness.votes.vote import Choice, Criterion, Vote

CHOICES: tuple[Choice, ...] = ("left", "right", "tie")
SINGLE: tuple[Criterion, ...] = ("relevance",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is simulated.

    Args:
        strengths: system -> theta.
        pairs: of systems, each on every image.
        prompts, images: so many, and of each prompt so many images.
        assessors: names; all see every image.
        tie: nu, the odds of a tie between equal images.
        spread: of theta over prompts, a standard deviation.
        side: what is added to the left image's theta.
        careless: assessors who answer at random.
        checks: attention checks of each assessor.
        attention: probability that an honest assessor answers a check right.
        criteria: questions, answered by themselves.
    """

    strengths: Mapping[str, float]
    pairs: tuple[tuple[str, str], ...]
    prompts: int = 40
    images: int = 2
    assessors: tuple[str, ...] = ("ada", "bo", "cy")
    tie: float = 0.5
    spread: float = 0.5
    side: float = 0.0
    careless: tuple[str, ...] = ()
    checks: int = 0
    attention: float = 0.95
    criteria: tuple[Criterion, ...] = SINGLE

    def chances(self, difference: Array) -> Array:
        """Of left, right and tie, (..., 3), at theta_left - theta_right + side."""
        odds = np.stack([np.exp(difference / 2), np.exp(-difference / 2), np.full_like(difference, self.tie)], axis=-1)
        return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def simulate(study: Study, rng: np.random.Generator) -> list[Vote]:
    """All votes of a study, attention checks first."""
    return [*_checks(study, rng), *(vote for pair in study.pairs for vote in _pair(study, pair, rng))]


def true_share(study: Study, candidate: str, baseline: str, *, nodes: int = 40) -> float:
    """The share of wins by the majority of three that a study of endless prompts would find (Gauss-Hermite)."""
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    middle = study.strengths[candidate] - study.strengths[baseline]
    gaps = middle + np.sqrt(2) * study.spread * at
    on_the_left, on_the_right = study.chances(gaps + study.side), study.chances(-gaps + study.side)
    won = (on_the_left[:, 0] + on_the_right[:, 1]) / 2  # sides are drawn for every vote
    lost = (on_the_left[:, 1] + on_the_right[:, 0]) / 2
    points = 0.5 + (_two_of_three(won) - _two_of_three(lost)) / 2
    return float(points @ weights / weights.sum())


def _two_of_three(chance: Array) -> Array:
    return chance**2 * (3 - 2 * chance)


def _pair(study: Study, pair: tuple[str, str], rng: np.random.Generator) -> Iterator[Vote]:
    """Votes on every image of a pair under every criterion."""
    shape = (len(study.criteria), study.prompts, study.images, len(study.assessors))
    drawn = rng.normal(size=(2, len(study.criteria), study.prompts, 1, 1))
    theta = [study.strengths[system] + study.spread * noise for system, noise in zip(pair, drawn, strict=True)]
    swapped = rng.random(shape) < 0.5
    chances = study.chances(np.where(swapped, -1, 1) * (theta[0] - theta[1]) + study.side)
    chances[..., [name in study.careless for name in study.assessors], :] = 1 / 3
    chosen = (rng.random((*shape, 1)) > chances.cumsum(axis=-1)[..., :2]).sum(axis=-1)
    seconds = np.round(rng.lognormal(2.0, 0.5, shape), 3)
    for place in product(*map(range, shape)):
        left, right = pair[::-1] if swapped[place] else pair
        yield Vote(
            study="simulated",
            prompt=f"prompt-{place[1]:03d}",
            image=place[2],
            criterion=study.criteria[place[0]],
            left=left,
            right=right,
            choice=CHOICES[chosen[place]],
            assessor=study.assessors[place[3]],
            seconds=float(seconds[place]),
        )


def _checks(study: Study, rng: np.random.Generator) -> Iterator[Vote]:
    """Attention checks: the image of a system beside a spoilt one, whose sides alternate."""
    for assessor, check in product(study.assessors, range(study.checks)):
        expected = CHOICES[check % 2]
        others = [choice for choice in CHOICES if choice != expected]
        attentive = rng.random() < (1 / 3 if assessor in study.careless else study.attention)
        pair = (study.pairs[0][0], "spoilt")
        left, right = pair if expected == "left" else pair[::-1]
        yield Vote(
            study="simulated",
            prompt=f"check-{check:02d}",
            image=0,
            criterion=study.criteria[0],
            left=left,
            right=right,
            choice=expected if attentive else others[int(rng.integers(2))],
            assessor=assessor,
            seconds=5.0,
            expected=expected,
        )
