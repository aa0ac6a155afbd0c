"""From a comparison to a verdict: one path for the claims of every kind of result.

A kind makes a ``Comparison`` of what a claim says: a difference d, oriented so that positive favours the claim, how
sure it is (`repro.harness.inference`), and the margin m that was fixed when the metric was declared. A claim is of
one of two kinds, and three statements about it may be shown, each by one-sided tests at 2.5 %:

    kind        reproduced   not reproduced                        worse, by so much
    better      d > 0        |d| < m, by two one-sided tests       d < 0
    not_worse   d > -m       d < -m                                d < 0

The first that is shown is the verdict, in the order reproduced, worse, not reproduced for *better*, and reproduced, not
reproduced, worse for *not_worse*; where none is, or where the two sides agree on every single value, it is not decided.
A claim of a ratio, at least F times as fast, is *not_worse* than F, which is a bound already, so slower than F is all
that could be *worse*: it is reproduced, not reproduced or not decided. A claim of *better* that is reproduced while
|d| < m is shown too is so by less than the margin, and one of *not_worse* that is reproduced while d < 0 is shown too
is worse, by less than the margin: their words say that.

The primary claims of a table that are the paper's are a family, and so are those of our own: the p of each statement
are adjusted over a family by Holm's (1979) procedure, so that the chance of any wrong statement of one sort in it is at
most 2.5 %. Secondary claims are not adjusted. A claim without a comparison was not measured here, or cannot be tested
in this profile; the page says why.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from repro.harness.experiment import Column, ExperimentError
from repro.harness.inference import Spread
from repro.harness.scope import NOT_IN_PAPER, ClaimKind, Scope

ALPHA = 0.025
"""Of each one-sided test."""


class Verdict(StrEnum):
    """Outcome of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    WORSE = "worse"
    NOT_DECIDED = "not decided"
    NOT_MEASURED = "not measured"
    NOT_TESTED = "not tested"


ORDER: Mapping[ClaimKind, tuple[Verdict, ...]] = {
    "better": (Verdict.REPRODUCED, Verdict.WORSE, Verdict.NOT_REPRODUCED),
    "not_worse": (Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.WORSE),
}
"""Statements that may be shown; the first one is the verdict."""


class Claim(Protocol):
    """A statement of the paper, as far as its verdict and the pages need it."""

    @property
    def key(self) -> str:
        """Name among the claims of its experiment."""

    @property
    def text(self) -> str:
        """The statement."""

    @property
    def source(self) -> str:
        """Where the paper makes it."""

    @property
    def scope(self) -> Scope:
        """What it compares."""

    @property
    def primary(self) -> bool:
        """Whether it belongs to the family of its table."""

    @property
    def statement(self) -> str:
        """Key of the sentence of the paper that it asks (`repro.harness.statements`); empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a claim says, measured, in the unit of the records.

    Args:
        difference: positive where the claim holds; of a ratio, its logarithm less that of ``ratio``.
        spread: how sure it is.
        kind: of the claim.
        margin: that of the metric; None where none was declared, which *not_worse* may not have.
        ratio: that is claimed, where times are compared; None for scores.
        n: what is paired: images, or rounds of a clock.
        captions: different captions among the images; None where there are none.
        seeds: training seeds; None where nothing was trained.
        differs: False where the two sides agree on every value.
        note: what is to be said beside the difference.

    Raises:
        ValueError: *not_worse* without a margin, or a negative margin.
    """

    difference: float
    spread: Spread
    kind: ClaimKind
    margin: float | None = None
    ratio: float | None = None
    n: int
    captions: int | None = None
    seeds: int | None = None
    differs: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        if (self.margin is None and self.kind == "not_worse") or (self.margin or 0.0) < 0:
            raise ValueError(f"a claim of {self.kind} has margin {self.margin}, expected one that is not negative")

    @property
    def low(self) -> float:
        """Lower bound of the 95 % interval."""
        return self.difference - self.spread.half()

    @property
    def high(self) -> float:
        """Upper bound."""
        return self.difference + self.spread.half()

    @property
    def shown(self) -> tuple[float, float, float]:
        """Difference and bounds as a page shows them; those of a ratio as ratio less the one that is claimed."""
        values = (self.difference, self.low, self.high)
        if self.ratio is None:
            return values
        value, low, high = (self.ratio * math.expm1(value) for value in values)
        return value, low, high

    @property
    def shown_margin(self) -> float | None:
        """The margin as a page shows it."""
        if self.ratio is None or self.margin is None:
            return self.margin
        return -self.ratio * math.expm1(-self.margin)

    def p_values(self) -> dict[Verdict, float]:
        """One-sided p against each statement that could be shown."""
        above, d, m = self.spread.p_above, self.difference, self.margin
        if self.kind == "better":
            alike = 1.0 if m is None else max(above(m + d), above(m - d))
            return {Verdict.REPRODUCED: above(d), Verdict.WORSE: above(-d), Verdict.NOT_REPRODUCED: alike}
        m = m or 0.0
        return {Verdict.REPRODUCED: above(m + d), Verdict.NOT_REPRODUCED: above(-m - d), Verdict.WORSE: above(-d)}

    def verdict(self, p: Mapping[Verdict, float]) -> Verdict:
        """The rule at the head of this module, from p that may be adjusted."""
        if not self.differs:
            return Verdict.NOT_DECIDED
        return next((shown for shown in self.statements if p[shown] <= ALPHA), Verdict.NOT_DECIDED)

    @property
    def statements(self) -> tuple[Verdict, ...]:
        """Those that may be shown, the first that is being the verdict: no *worse* beside the bound of a ratio."""
        return tuple(one for one in ORDER[self.kind] if self.ratio is None or one is not Verdict.WORSE)


@dataclass(frozen=True, slots=True)
class NoComparison:
    """Why a claim has none: what it needs was not measured, or is nothing that the profile measures."""

    verdict: Verdict
    reason: str


Compared = tuple[Column, Comparison | NoComparison]
"""How a difference is shown, and the difference."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A claim with what came of it; ``column`` says how its difference is shown.

    Args:
        p: of each statement, adjusted over the family of a primary claim; empty without a comparison.
    """

    claim: Claim
    column: Column
    outcome: Comparison | NoComparison
    p: Mapping[Verdict, float]

    @property
    def verdict(self) -> Verdict:
        """Of the comparison, or why there is none."""
        return self.outcome.verdict(self.p) if isinstance(self.outcome, Comparison) else self.outcome.verdict

    @property
    def is_slight(self) -> bool:
        """Whether a claim of *better* holds by less than the margin: both were shown."""
        return self._also("better", Verdict.NOT_REPRODUCED)

    @property
    def is_tolerated(self) -> bool:
        """Whether a claim of *not worse* holds although it is worse, by less than the margin: both were shown."""
        return self._also("not_worse", Verdict.WORSE)

    def _also(self, kind: ClaimKind, statement: Verdict) -> bool:
        """Whether a claim of a kind is reproduced and another statement about it was shown as well."""
        found = self.comparison
        if found is None or found.kind != kind or statement not in found.statements:
            return False
        return self.verdict is Verdict.REPRODUCED and self.p[statement] <= ALPHA

    @property
    def comparison(self) -> Comparison | None:
        """The comparison, if there is one."""
        return self.outcome if isinstance(self.outcome, Comparison) else None

    @property
    def is_tested(self) -> bool:
        """Whether the profile can test the claim at all."""
        return self.verdict is not Verdict.NOT_TESTED

    @property
    def is_measured(self) -> bool:
        """Whether it was measured, whatever came of it."""
        return self.comparison is not None

    @property
    def is_primary(self) -> bool:
        """Whether the claim belongs to the family of its table."""
        return self.claim.primary


C = TypeVar("C", bound=Claim)


def judge(claims: Iterable[C], compare: Callable[[C], Compared]) -> tuple[Judgement, ...]:
    """Every claim with its verdict, in the order of the declaration.

    p of primary ones are adjusted, those of the paper's claims over these and those of our own over our own.
    """
    found = [(claim, *compare(claim)) for claim in claims]
    raw = [outcome.p_values() if isinstance(outcome, Comparison) else {} for _, _, outcome in found]
    primary = [place for place, (claim, _, _) in enumerate(found) if claim.primary and raw[place]]
    for own in (False, True):
        family = [place for place in primary if (found[place][0].source == NOT_IN_PAPER) is own]
        for statement in ORDER["better"]:
            for place, p in zip(family, holm([raw[place][statement] for place in family]), strict=True):
                raw[place] = {**raw[place], statement: p}
    return tuple(Judgement(*parts, p) for parts, p in zip(found, raw, strict=True))


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p of a family (Holm, 1979): the k-th smallest of m times m - k + 1, never less than a smaller one's."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, least = [1.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = least
    return adjusted


def fixed_margin(kind: ClaimKind, column: Column, where: str) -> float | None:
    """The margin that a metric was declared with.

    Raises:
        ExperimentError: a claim of *not worse* in a metric without one.
    """
    if kind == "not_worse" and column.margin is None:
        raise ExperimentError(
            f"{where} says not worse in {column.label} ({column.key}), which has no margin; expected "
            "Column.margin, fixed before anything is measured"
        )
    return column.margin
