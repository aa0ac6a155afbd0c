"""Does a measurement agree with the published number? For every cell that both have.

With the published value p, ours with its 95 % interval [low, high], and a tolerance t for other seeds and for what the
published recipe leaves open, which the declaration fixes before anything is measured:

    agrees if p - t <= low and high <= p + t,   differs if high < p - t or low > p + t,   else inconclusive.

Without an interval both bounds are the value itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from repro.harness.cells import Estimate, estimate, markdown, number, signed, with_interval
from repro.harness.experiment import Agreement, Column, PromptSet, Reported, Row
from repro.harness.profile import Profile
from repro.harness.published import published_value
from repro.harness.schema import RecordSet

HEADS = ("", "Publication", "Prompts", "Setup", "Metric", "Published", "Here", "Difference", "Tolerance", "Images")
RULE = """\
A cell agrees if the whole interval of ours lies within the tolerance around the published value, differs if none of it
does, and is inconclusive otherwise. The tolerances were fixed before anything was measured; they stand for other seeds
and for what the published recipe leaves open."""


class Verdict(StrEnum):
    """What came of a cell."""

    AGREES = "agrees"
    DIFFERS = "differs"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A published number and ours; all in the unit of the records."""

    publication: str
    prompts: PromptSet
    row: Row
    column: Column
    published: float
    ours: Estimate
    tolerance: float
    n: int

    @property
    def verdict(self) -> Verdict:
        """The rule at the head of this module."""
        low = self.ours.value if self.ours.low is None else self.ours.low
        high = self.ours.value if self.ours.high is None else self.ours.high
        floor, ceiling = self.published - self.tolerance, self.published + self.tolerance
        if floor <= low and high <= ceiling:
            return Verdict.AGREES
        return Verdict.DIFFERS if high < floor or low > ceiling else Verdict.INCONCLUSIVE


def compared(
    publications: Iterable[Reported], rows: Sequence[Row], profile: Profile, records: RecordSet
) -> tuple[Cell, ...]:
    """Every cell of the publications that name this profile and that was measured."""
    return tuple(
        cell
        for reported in publications
        if profile.name in reported.profiles
        for prompts in profile.prompt_sets
        for row in rows
        for key, wanted in reported.agreement.items()
        for cell in _cell(reported, (row, prompts, key), wanted, profile, records)
    )


def agreement(cells: Sequence[Cell]) -> list[str]:
    """Heading, one sentence, table and rule; nothing where nothing can be compared."""
    if not cells:
        return []
    counts = [(verdict, sum(cell.verdict is verdict for cell in cells)) for verdict in Verdict]
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    sentence = f"Of {len(cells)} published numbers that were measured again here: {parts}."
    heading = "## Does this agree with the published numbers?"
    return [heading, sentence, markdown(HEADS, map(_line, cells), left=5), RULE]


def _cell(
    reported: Reported, place: tuple[Row, PromptSet, str], wanted: Agreement, profile: Profile, records: RecordSet
) -> Iterator[Cell]:
    row, prompts, key = place
    value = published_value(reported, row, prompts, key)
    column = profile.column(wanted.metric)
    if value is None or column is None or not column.is_of(prompts.key):
        return
    found = records.find(row.key, prompts.key, wanted.metric)
    if (ours := estimate(found)) is not None:
        yield Cell(
            publication=reported.label,
            prompts=prompts,
            row=row,
            column=column,
            published=value / wanted.scale,
            ours=ours,
            tolerance=wanted.tolerance,
            n=found[0].n,
        )


def _line(cell: Cell) -> list[str]:
    column = cell.column
    shown = [number(value * column.factor, column.digits) for value in (cell.published, cell.tolerance)]
    difference = signed((cell.ours.value - cell.published) * column.factor, column.digits)
    return [
        f"**{cell.verdict}**",
        cell.publication,
        cell.prompts.label,
        cell.row.label,
        column.label,
        shown[0],
        with_interval(cell.ours, column),
        difference,
        shown[1],
        f"{cell.n:,}",
    ]
