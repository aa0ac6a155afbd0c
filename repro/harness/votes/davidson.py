"""Strengths of several systems from votes about pairs of them, with ties (Davidson, 1970).

    P(i before j) = pi_i / D,   P(tie) = nu sqrt(pi_i pi_j) / D,   D = pi_i + pi_j + nu sqrt(pi_i pi_j).

With b = (log pi_1 ... log pi_K, log nu) each answer has a utility x'b: x = e_i, e_j or (e_i + e_j) / 2 + e_nu, so this
is a conditional logit, whose likelihood is concave. Newton's method finds its maximum, with sum_i log pi_i = 0. It is
finite where no direction v has (x_chosen - x_other)'v >= 0 for every answer and more for one (Albert and Anderson,
1984): checked beforehand. A system that only wins and ties has no finite strength, and ties alone give no finite nu.

Votes on one prompt belong together, so the covariance is that of the sandwich, H^-1 (sum_p g_p g_p') H^-1 P / (P - 1),
with g_p the score of all votes on prompt p and H the observed information; intervals take Student's t with P - 1
degrees of freedom.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components
from scipy.special import softmax, stdtrit

from repro.harness.votes.files import VoteError
from repro.harness.votes.outcomes import studied
from repro.harness.votes.shares import FEWEST, TAIL
from repro.harness.votes.vote import Vote

Array = NDArray[np.float64]
STEPS, SMALLEST, LONGEST = 100, 1e-10, 2.0


@dataclass(frozen=True, slots=True)
class Strength:
    """log pi of a system, in units of the logit, with its 95 % interval; the mean over systems is 0."""

    system: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Davidson:
    """Of one criterion.

    Args:
        strengths: the strongest first.
        tie: nu: how often ties are between equal systems, as odds against either's win; 0 without ties.
        votes: behind it.
        prompts: which these are about.
    """

    strengths: tuple[Strength, ...]
    tie: float
    votes: int
    prompts: int


def davidson(votes: Iterable[Vote], criterion: str) -> Davidson:
    """Fit all votes under one criterion, attention checks left out.

    Raises:
        VoteError: fewer than two systems, too few prompts, systems that no votes connect both ways, or votes whose
            maximum of the likelihood is at infinity.
    """
    votes = sorted((vote for vote in studied(votes) if vote.criterion == criterion), key=lambda vote: vote.identity)
    systems = sorted({system for vote in votes for system in (vote.left, vote.right)})
    prompts = sorted({vote.prompt for vote in votes})
    if len(prompts) < FEWEST:
        raise VoteError(f"strengths in {criterion} need at least {FEWEST} prompts, got {len(prompts)}")
    counts, pairs = _counted(votes, systems, prompts)
    _connected(counts.sum(axis=0), pairs, systems)
    has_ties = bool(counts[:, :, 2].sum())
    design = _design(pairs, len(systems), has_ties)
    _bounded(counts.sum(axis=0), design, criterion)
    fitted, covariance = _fit(counts, design)
    centre = np.eye(len(fitted))
    centre[: len(systems), : len(systems)] -= 1 / len(systems)
    errors = np.sqrt(np.diag(centre @ covariance @ centre.T))
    halves = -float(stdtrit(len(prompts) - 1, TAIL)) * errors
    found = [
        Strength(system, float(value), float(value - half), float(value + half))
        for system, value, half in zip(systems, centre @ fitted, halves, strict=False)
    ]
    ordered = tuple(sorted(found, key=lambda one: -one.value))
    return Davidson(ordered, float(np.exp(fitted[-1])) if has_ties else 0.0, len(votes), len(prompts))


def _counted(votes: Sequence[Vote], systems: Sequence[str], prompts: Sequence[str]) -> tuple[Array, NDArray[np.int64]]:
    """Votes for the first, for the second and ties, by prompt and pair, (P, M, 3); and the pairs, (M, 2)."""
    place = {system: index for index, system in enumerate(systems)}
    at = {prompt: index for index, prompt in enumerate(prompts)}
    pairs = sorted({tuple(sorted((place[vote.left], place[vote.right]))) for vote in votes})
    which = {pair: index for index, pair in enumerate(pairs)}
    counts = np.zeros((len(prompts), len(pairs), 3))
    for vote in votes:
        left, right = place[vote.left], place[vote.right]
        chosen = 2 if vote.choice == "tie" else int((vote.choice == "left") == (left > right))
        counts[at[vote.prompt], which[tuple(sorted((left, right)))], chosen] += 1
    return counts, np.array(pairs)


def _connected(counts: Array, pairs: NDArray[np.int64], systems: Sequence[str]) -> None:
    """Whether every system reaches every other by wins and ties."""
    beats = np.zeros((len(systems), len(systems)))
    for (first, second), (wins, losses, ties) in zip(pairs, counts, strict=True):
        beats[first, second] += wins + ties
        beats[second, first] += losses + ties
    groups, labels = connected_components(beats > 0, directed=True, connection="strong")
    if groups > 1:
        parts = [", ".join(s for s, label in zip(systems, labels, strict=True) if label == g) for g in range(groups)]
        raise VoteError(
            f"no finite strengths: between the groups {'; '.join(parts)} votes are missing, or all go one way"
        )


def _bounded(counts: Array, design: Array, criterion: str) -> None:
    """Whether the likelihood has its maximum at a finite place: no direction that every answer agrees with."""
    counts = counts[:, : design.shape[1]]
    steps = np.array(
        [
            row[chosen] - row[other]
            for row, found in zip(design, counts, strict=True)
            for chosen in np.flatnonzero(found)
            for other in range(len(row))
            if other != chosen
        ]
    )
    best = linprog(-steps.sum(axis=0), A_ub=-steps, b_ub=np.zeros(len(steps)), bounds=(-1, 1))
    if -best.fun > 1e-9:
        raise VoteError(
            f"no finite strengths in {criterion}: all answers agree with one direction, such as a system that never "
            "loses, or pairs that are always ties"
        )


def _design(pairs: NDArray[np.int64], systems: int, has_ties: bool) -> Array:
    """X of every answer, (M, 3, K + 1); without ties there is neither nu nor the third answer: (M, 2, K)."""
    ends = np.eye(systems)[pairs]
    if not has_ties:
        return ends
    made = np.zeros((len(pairs), 3, systems + 1))
    made[:, :2, :-1] = ends
    made[:, 2, :-1] = ends.mean(axis=1)
    made[:, 2, -1] = 1
    return made


def _fit(counts: Array, design: Array) -> tuple[Array, Array]:
    """The maximum and its covariance; counts by prompt, (P, M, 3)."""
    counts = counts[:, :, : design.shape[1]]
    total, fitted = counts.sum(axis=0), np.zeros(design.shape[-1])
    asked = total.sum(axis=1)
    for _ in range(STEPS):
        chance = softmax(design @ fitted, axis=1)
        mean = np.einsum("ma,mak->mk", chance, design)
        spread = np.einsum("m,ma,mak,mal->kl", asked, chance, design, design)
        information = spread - np.einsum("m,mk,ml->kl", asked, mean, mean)
        inverse = np.linalg.pinv(information, rcond=1e-9, hermitian=True)
        step = inverse @ np.einsum("ma,mak->k", total - asked[:, None] * chance, design)
        fitted = fitted + step * min(1.0, LONGEST / max(float(np.abs(step).max()), SMALLEST))
        if np.abs(step).max() < SMALLEST:
            break
    else:
        raise VoteError(f"no strengths: {STEPS} steps of Newton's method did not find the maximum")
    scores = np.einsum("pma,mak->pk", counts - counts.sum(axis=2, keepdims=True) * chance, design)
    prompts = len(counts)
    return fitted, inverse @ (scores.T @ scores) @ inverse * prompts / (prompts - 1)
