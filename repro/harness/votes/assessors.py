"""What votes say of the assessors: attention checks, the side they prefer, the time they take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.stats import binom

from repro.harness.votes.outcomes import studied
from repro.harness.votes.vote import Vote


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """Who is careless: an assessor with fewer right answers than ``share`` of at least ``least`` attention checks.

    Fixed before any study; an assessor with fewer checks is never called careless.
    """

    share: float = 0.75
    least: int = 4

    def is_careless(self, right: int, checks: int) -> bool:
        """Whether so many right answers of so many are too few."""
        return checks >= self.least and right < self.needed(checks)

    def needed(self, checks: int) -> int:
        """Right answers of so many that are enough."""
        return ceil(self.share * checks - 1e-9)

    def false_alarms(self, right: float, checks: int) -> float:
        """How often an assessor who answers a check right with this probability is called careless."""
        return float(binom.cdf(self.needed(checks) - 1, checks, right)) if checks >= self.least else 0.0


RULE = AttentionRule()


@dataclass(frozen=True, slots=True)
class Assessor:
    """One of them.

    Args:
        name: pseudonym.
        votes: about pairs of the study.
        checks: attention checks answered.
        right: of these.
        is_careless: by the rule.
        left: votes for the left image, of those for either.
        sided: votes for either.
        seconds: quartiles of the time of a vote; NaN without votes.
    """

    name: str
    votes: int
    checks: int
    right: int
    is_careless: bool
    left: int
    sided: int
    seconds: tuple[float, float, float]


def assessors(votes: Iterable[Vote], rule: AttentionRule = RULE) -> list[Assessor]:
    """All who voted, by name."""
    by_name: dict[str, list[Vote]] = {}
    for vote in votes:
        by_name.setdefault(vote.assessor, []).append(vote)
    return [_assessor(name, by_name[name], rule) for name in sorted(by_name)]


def attentive(votes: Sequence[Vote], rule: AttentionRule = RULE) -> list[Vote]:
    """Votes of those who are not careless."""
    careless = {one.name for one in assessors(votes, rule) if one.is_careless}
    return [vote for vote in votes if vote.assessor not in careless]


def side(votes: Iterable[Vote]) -> tuple[int, int]:
    """Votes of the study for the left image, and for either: without a preferred side the share is near a half."""
    sided = [vote.choice for vote in studied(votes) if vote.choice != "tie"]
    return sided.count("left"), len(sided)


def quartiles(votes: Iterable[Vote]) -> tuple[float, float, float]:
    """Seconds of a vote of the study: lower quartile, median, upper quartile; NaN without votes."""
    seconds = [vote.seconds for vote in studied(votes)]
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75)) if seconds else (np.nan,) * 3
    return float(low), float(middle), float(high)


def _assessor(name: str, votes: Sequence[Vote], rule: AttentionRule) -> Assessor:
    checks = [vote for vote in votes if vote.expected]
    right = sum(vote.choice == vote.expected for vote in checks)
    left, sided = side(votes)
    return Assessor(
        name=name,
        votes=len(votes) - len(checks),
        checks=len(checks),
        right=right,
        is_careless=rule.is_careless(right, len(checks)),
        left=left,
        sided=sided,
        seconds=quartiles(votes),
    )
