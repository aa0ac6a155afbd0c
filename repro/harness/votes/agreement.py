"""How far a metric's choice between two images agrees with the majority of people who saw them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repro.harness.votes.outcomes import Array, Outcomes
from repro.harness.votes.shares import DRAWS, Share, share


@dataclass(frozen=True, slots=True)
class Agreement:
    """Between majority and proxy.

    Args:
        share: of images where both say win, half or loss alike, with its interval over prompts.
        kappa: Cohen's, 1 for full agreement and 0 for what chance gives; None where nothing can disagree.
    """

    share: Share
    kappa: float | None


def agreement(pairs: Sequence[tuple[Outcomes, Outcomes]], *, draws: int = DRAWS) -> Agreement | None:
    """Over the images of all pairs that have both; None where none has.

    Args:
        pairs: majority and proxy of one pair of systems, each; images that only one of them has are left out.
        draws: of the bootstrap.

    Raises:
        VoteError: too few prompts for an interval.
    """
    prompts: list[str] = []
    people: list[float] = []
    metric: list[float] = []
    for majority, proxy in pairs:
        scored = dict(zip(proxy.places, proxy.points, strict=True))
        for place, voted in zip(majority.places, majority.points, strict=True):
            if place in scored:
                prompts.append(place[0])
                people.append(float(voted))
                metric.append(float(scored[place]))
    if not prompts:
        return None
    alike = np.array(people) == np.array(metric)
    entries = {(prompt, index): float(same) for index, (prompt, same) in enumerate(zip(prompts, alike, strict=True))}
    return Agreement(share(Outcomes.of(entries), draws=draws), kappa(np.array(people), np.array(metric)))


def kappa(first: Array, second: Array) -> float | None:
    """Cohen's kappa (1960): (p_o - p_e) / (1 - p_e), with p_e = sum_c p_1c p_2c over the values c."""
    observed = float((first == second).mean())
    by_chance = sum(float((first == value).mean() * (second == value).mean()) for value in np.unique(first))
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)
