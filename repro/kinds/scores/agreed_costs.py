"""Do latency and parameters of a row agree with the published ones?

Parameters are facts of a network and compared wherever they were counted. Seconds are those of a machine and of how
networks run on it: where either is not the publication's, the two numbers cannot be compared, and the cell says why.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from repro.harness.agreement import Cell
from repro.harness.cells import estimate
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.plan import steps_of
from repro.harness.profile import Profile
from repro.harness.published import published_cost
from repro.harness.reported import Agreement, Reported
from repro.harness.schema import RecordSet
from repro.kinds.scores.clocked import differences, timed_under
from repro.kinds.scores.costs import LATENCY, cost_columns
from repro.kinds.scores.declare import Table

NO_PROMPTS = PromptSet("", "")
UNKNOWN = "no run says how ours was timed"


def agreed_costs(table: Table, rows: Sequence[Row], profile: Profile, records: RecordSet) -> tuple[Cell, ...]:
    """Every published cost of the publications that name this profile and that was measured."""
    return tuple(
        cell
        for reported in table.publications
        if profile.name in reported.profiles
        for row in rows
        for key, wanted in reported.cost_agreement.items()
        for cell in _cell(table, (reported, row, key), wanted, profile, records)
    )


def _cell(
    table: Table, place: tuple[Reported, Row, str], wanted: Agreement, profile: Profile, records: RecordSet
) -> Iterator[Cell]:
    reported, row, key = place
    value = published_cost(reported, row, key)
    column = next((column for column in cost_columns(table, records) if column.key == wanted.metric), None)
    ours = estimate(records.find(row.key, "", wanted.metric))
    if value is None or column is None or ours is None:
        return
    yield Cell(
        publication=reported.label,
        prompts=NO_PROMPTS,
        row=row,
        steps=steps_of(profile, row),
        column=_finer(column),
        published=value / wanted.scale,
        ours=ours,
        tolerance=wanted.allowed(value / wanted.scale),
        n=0,
        unlike=_unlike(table, row, profile, records) if wanted.metric == LATENCY.key else "",
    )


def _finer(column: Column) -> Column:
    """Half a unit of the last published digit is shown as it is."""
    return column if column.key == LATENCY.key else replace(column, digits=column.digits + 1)


def _unlike(table: Table, row: Row, profile: Profile, records: RecordSet) -> str:
    if table.published_clock is None:
        return ""
    ours = timed_under(table, profile, records, row.key)
    return UNKNOWN if ours is None else differences(ours, table.published_clock)
