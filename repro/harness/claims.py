"""From a comparison to a verdict and to the words of a page: one path for the claims of every kind of result.

A kind makes a ``Comparison`` of what a claim says: a difference d, oriented so that positive favours the claim, with a
95 % interval [low, high], and a margin m >= 0 that the claim allows (fixed when it is declared; none for most). Then

    reproduced if low >= -m,   not reproduced if high < -m,   else inconclusive,

and two sides that agree on every single value decide nothing: inconclusive. A claim without a comparison was not
measured here, or cannot be tested in this profile; the page says why.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from repro.harness.cells import markdown, number, signed
from repro.harness.experiment import Column
from repro.harness.scope import Scope


class Verdict(StrEnum):
    """Outcome of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"
    NOT_TESTED = "not tested"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a claim says, measured, in the unit of the records.

    Args:
        difference: positive where the claim holds.
        low, high: its 95 % interval.
        margin: how far below zero the claim still holds; None where it allows nothing.
        n: what is paired: images, or rounds of a clock.
        captions: different captions among the images; None where there are none.
        differs: False where the two sides agree on every value.
    """

    difference: float
    low: float
    high: float
    margin: float | None = None
    n: int
    captions: int | None = None
    differs: bool = True

    @property
    def verdict(self) -> Verdict:
        """The rule at the head of this module."""
        bound = -(self.margin or 0.0)
        if not self.differs:
            return Verdict.INCONCLUSIVE
        if self.low >= bound:
            return Verdict.REPRODUCED
        return Verdict.NOT_REPRODUCED if self.high < bound else Verdict.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class NoComparison:
    """Why a claim has none: what it needs was not measured, or is nothing that the profile measures."""

    verdict: Verdict
    reason: str


Compared = tuple[Column, Comparison | NoComparison]
"""How a difference is shown, and the difference."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A claim with what came of it; ``column`` says how its difference is shown."""

    claim: Claim
    column: Column
    outcome: Comparison | NoComparison

    @property
    def verdict(self) -> Verdict:
        """Of the comparison, or why there is none."""
        return self.outcome.verdict

    @property
    def comparison(self) -> Comparison | None:
        """The comparison, if there is one."""
        return self.outcome if isinstance(self.outcome, Comparison) else None

    @property
    def is_tested(self) -> bool:
        """Whether the profile can test the claim at all."""
        return self.verdict is not Verdict.NOT_TESTED


C = TypeVar("C", bound=Claim)


def judge(claims: Iterable[C], compare: Callable[[C], Compared]) -> tuple[Judgement, ...]:
    """Every claim with its verdict, in the order of the declaration."""
    return tuple(Judgement(claim, *compare(claim)) for claim in claims)


def difference(judgement: Judgement) -> str:
    """The signed difference with its interval, or the reason why there is none."""
    compared, column = judgement.outcome, judgement.column
    if isinstance(compared, NoComparison):
        return compared.reason
    value, low, high = (
        signed(shown * column.factor, column.digits) for shown in (compared.difference, compared.low, compared.high)
    )
    return f"{value}{' points' if column.percent else ''} [{low}, {high}]"


def _margin(judgement: Judgement) -> str:
    compared, column = judgement.comparison, judgement.column
    if compared is None:
        return ""
    return "0" if compared.margin is None else number(compared.margin * column.factor, column.digits)


def _count(judgement: Judgement) -> str:
    return str(judgement.comparison.n) if judgement.comparison else ""


def _captions(judgement: Judgement) -> str:
    found = judgement.comparison and judgement.comparison.captions
    return "" if found is None else str(found)


CELLS: dict[str, Callable[[Judgement], str]] = {
    "Verdict": lambda judgement: f"**{judgement.verdict}**",
    "Claim": lambda judgement: judgement.claim.text,
    "Source": lambda judgement: judgement.claim.source,
    "Metric": lambda judgement: judgement.column.label,
    "Difference": difference,
    "Margin": _margin,
    "Images": _count,
    "Rounds": _count,
    "Captions": _captions,
}


def cells(judgement: Judgement, heads: Sequence[str]) -> list[str]:
    """The cells of a claim below those heads of ``CELLS``."""
    return [CELLS[head](judgement) for head in heads]


def claims_table(judgements: Iterable[Judgement], heads: Sequence[str]) -> str:
    """The table of claims below those heads of ``CELLS``; words stand left, numbers right."""
    rows = [cells(judgement, heads) for judgement in judgements]
    return markdown(heads, rows, left=list(heads).index("Difference"))
