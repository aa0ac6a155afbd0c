"""The share of wins of a pair, with an interval over prompts, and its sign test.

With s_p points on the n_p images of prompt p, the share is sum_p s_p / sum_p n_p. Images of a prompt belong together,
so whole prompts are drawn again, with replacement (the cluster bootstrap of Field and Welsh, 2007): quantiles 2.5 %
and 97.5 % of the share over the draws bound the interval, stretched around the share by sqrt(P / (P - 1)), for the
bootstrap of P clusters knows their variance with the divisor P.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta, binomtest

from repro.harness.votes.files import VoteError
from repro.harness.votes.outcomes import Outcomes

DRAWS, SEED = 2000, 2503
TAIL = 0.025
FEWEST = 10
"""Prompts that an interval needs at least: of fewer, the draws hardly differ from each other."""


@dataclass(frozen=True, slots=True)
class Share:
    """Of wins, halves counted as half, with its 95 % interval.

    Args:
        value: in [0, 1].
        low, high: bounds.
        images: behind it.
        prompts: which these are of.
    """

    value: float
    low: float
    high: float
    images: int
    prompts: int

    def mirrored(self) -> "Share":
        """Of the other system."""
        return replace(self, value=1 - self.value, low=1 - self.high, high=1 - self.low)


@dataclass(frozen=True, slots=True)
class SignTest:
    """Two-sided, over prompts: a prompt is for the system with more than half of the points on its images.

    Prompts with exactly half are dropped: ``dropped`` says how many.
    """

    wins: int
    losses: int
    dropped: int
    p: float


def share(found: Outcomes, *, draws: int = DRAWS, seed: int = SEED) -> Share:
    """The share of wins with its interval; the same outcomes give the same numbers.

    Raises:
        VoteError: fewer prompts than an interval needs.
    """
    points, images = found.by_prompt
    prompts = len(images) if len(found.points) else 0
    if prompts < FEWEST:
        raise VoteError(f"an interval over prompts needs at least {FEWEST} of them, got {prompts}")
    value = float(points.sum() / images.sum())
    low, high = _bootstrap(points, images, value, draws, seed) if np.ptp(points / images) else _exact(value, prompts)
    return Share(value, low, high, len(found.points), prompts)


def sign_test(found: Outcomes) -> SignTest:
    """Whether prompts are for one of the systems more often than for the other."""
    points, images = found.by_prompt
    wins, losses = int((2 * points > images).sum()), int((2 * points < images).sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return SignTest(wins, losses, len(images) - wins - losses, p)


def _bootstrap(points: np.ndarray, images: np.ndarray, value: float, draws: int, seed: int) -> tuple[float, float]:
    prompts = len(images)
    times = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), size=draws)
    drawn = times @ np.stack([points - value * images, images], axis=1)
    bounds = np.quantile(drawn[:, 0] / drawn[:, 1], (TAIL, 1 - TAIL)) * np.sqrt(prompts / (prompts - 1))
    return max(value + float(bounds[0]), 0.0), min(value + float(bounds[1]), 1.0)


def _exact(value: float, prompts: int) -> tuple[float, float]:
    """Clopper and Pearson's interval over prompts: where all agree, no draw differs from another."""
    wins = value * prompts
    low = float(beta.ppf(TAIL, wins, prompts - wins + 1)) if value > 0 else 0.0
    high = float(beta.ppf(1 - TAIL, wins + 1, prompts - wins)) if value < 1 else 1.0
    return low, high
