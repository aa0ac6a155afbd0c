"""Does a measurement agree with the published number? For every cell that both have.

With the published value p, ours with its 95 % interval [low, high], and a tolerance t for other seeds and for what the
published recipe leaves open, which the declaration fixes before anything is measured:

    agrees if p - t <= low and high <= p + t,   differs if high < p - t or low > p + t,   else inconclusive.

Without an interval both bounds are the value itself. Two kinds of cells are not decided by the numbers alone. A
distance of distributions falls with the number of images, so of fewer than the publication's it is inconclusive. What
was measured under other conditions than the publication's, such as seconds on another machine, is not comparable.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from repro.harness.cells import DASH, Estimate, markdown, measured, number, signed, with_interval
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.plan import steps_of
from repro.harness.profile import Profile
from repro.harness.published import published_value
from repro.harness.reported import Agreement, Reported
from repro.harness.schema import RecordSet

HEADS = ("", "Prompts", "Setup", "Steps", "Metric", "Published", "Here", "Difference", "Tolerance", "Images")
STEPS = HEADS.index("Steps")
ENOUGH = 0.99  # of the publication's images: a few that were skipped move a distance by less than it is printed with
FOLDED = 40  # lines of a table
RULE = """\
A cell agrees if the whole interval of ours lies within the tolerance around the published value, differs if none of it
does, and is inconclusive otherwise. The tolerances were fixed before anything was measured; they stand for other seeds
and for what the published recipe leaves open."""
BIAS = "A Frechet distance falls with the number of images: of fewer than the publication's it is inconclusive."


class Verdict(StrEnum):
    """What came of a cell."""

    AGREES = "agrees"
    DIFFERS = "differs"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A published number and ours; all in the unit of the records.

    Args:
        publication: its name.
        prompts: set of prompts; one without a label for what belongs to none.
        row: what was measured.
        steps: of the row, where that is known.
        column: how numbers are shown.
        published, ours: the two.
        tolerance: how far they may lie apart.
        n: images behind ours; 0 where none are.
        published_images: behind the published number, where that matters.
        unlike: in which ways ours was measured otherwise, so that the two cannot be compared.
    """

    publication: str
    prompts: PromptSet
    row: Row
    steps: int | None = None
    column: Column
    published: float
    ours: Estimate
    tolerance: float
    n: int
    published_images: int | None = None
    unlike: str = ""

    @property
    def is_of_few(self) -> bool:
        """Whether it is a distance of distributions of fewer images than the publication's."""
        return self.column.role == "distribution" and self.n < ENOUGH * (self.published_images or 0)

    @property
    def reason(self) -> str:
        """Why numbers alone do not decide; empty where they do."""
        if self.unlike:
            return self.unlike
        return f"ours is of {self.n:,} images, theirs of {self.published_images:,}" if self.is_of_few else ""

    @property
    def verdict(self) -> Verdict:
        """The rule at the head of this module."""
        if self.unlike:
            return Verdict.NOT_COMPARABLE
        if self.is_of_few:
            return Verdict.INCONCLUSIVE
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


def agreement(cells: Sequence[Cell], *, fold: int = FOLDED) -> list[str]:
    """Heading, one sentence, a table for each publication, and the rule; nothing where nothing can be compared.

    Args:
        cells: that are compared.
        fold: longer tables have to be opened by a click.
    """
    if not cells:
        return []
    sentence = f"Of {len(cells)} published numbers that were measured again here: {counted(cells)}."
    blocks = ["## Does this agree with the published numbers?", sentence]
    for publication in dict.fromkeys(cell.publication for cell in cells):
        theirs = [cell for cell in cells if cell.publication == publication]
        table = agreement_table(theirs)
        summary = f"<summary>All {len(theirs)} numbers</summary>"
        folded = f"<details>\n{summary}\n\n{table}\n\n</details>"
        blocks += [f"*{publication}*: {counted(theirs)}.", table if len(theirs) <= fold else folded]
        blocks += filter(None, [reasons(theirs)])
    return [*blocks, RULE, *([BIAS] if any(cell.column.role == "distribution" for cell in cells) else [])]


def counted(cells: Sequence[Cell]) -> str:
    """How many cells came to each verdict, in words."""
    counts = [(verdict, sum(cell.verdict is verdict for cell in cells)) for verdict in Verdict]
    return ", ".join(_count(verdict, count) for verdict, count in counts if count)


def reasons(cells: Sequence[Cell]) -> str:
    """Why numbers alone do not decide, once for all cells of a metric that share the reason; as a list."""
    found: dict[tuple[str, str, str], int] = {}
    for cell in cells:
        if cell.reason:
            key = (cell.column.label, cell.verdict, cell.reason)
            found[key] = found.get(key, 0) + 1
    return "\n".join(f"- {label}, {count} {verdict}: {reason}." for (label, verdict, reason), count in found.items())


def agreement_table(cells: Sequence[Cell]) -> str:
    """A line for each published number; the column of steps is left out where no row has any."""
    lines, heads = [_line(cell) for cell in cells], list(HEADS)
    if all(cell.steps is None for cell in cells):
        lines, heads = [[*line[:STEPS], *line[STEPS + 1 :]] for line in lines], [*HEADS[:STEPS], *HEADS[STEPS + 1 :]]
    return markdown(heads, lines, left=heads.index("Published"))


def _cell(
    reported: Reported, place: tuple[Row, PromptSet, str], wanted: Agreement, profile: Profile, records: RecordSet
) -> Iterator[Cell]:
    row, prompts, key = place
    value = published_value(reported, row, prompts, key)
    column = profile.column(wanted.metric)
    if value is None or column is None or not column.is_of(prompts.key):
        return
    found = records.find(row.key, prompts.key, wanted.metric)
    if (ours := measured(records, row.key, prompts.key, wanted.metric)) is not None:
        yield Cell(
            publication=reported.label,
            prompts=prompts,
            row=row,
            steps=steps_of(profile, row),
            column=column,
            published=value / wanted.scale,
            ours=ours,
            tolerance=wanted.allowed(value / wanted.scale),
            n=found[0].n,
            published_images=reported.images,
        )


def _count(verdict: Verdict, count: int) -> str:
    plural = {Verdict.AGREES: "agree", Verdict.DIFFERS: "differ"}
    return f"{count} {verdict if count == 1 else plural.get(verdict, verdict)}"


def _line(cell: Cell) -> list[str]:
    column = cell.column
    shown = [number(value * column.factor, column.digits) for value in (cell.published, cell.tolerance)]
    difference = signed((cell.ours.value - cell.published) * column.factor, column.digits)
    return [
        f"**{cell.verdict}**",
        cell.prompts.label or DASH,
        cell.row.label,
        DASH if cell.steps is None else str(cell.steps),
        column.label,
        shown[0],
        with_interval(cell.ours, column),
        difference,
        shown[1],
        f"{cell.n:,}" if cell.n else DASH,
    ]
