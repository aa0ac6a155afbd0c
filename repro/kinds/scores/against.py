"""Every row of a table against one: how far apart, over training seeds and captions, and whether that is shown.

Differences are those of claims (`repro.kinds.scores.judge`), oriented so that positive is better than the one row; the
two-sided p of a metric's rows are adjusted over them by Holm's procedure.
"""

from dataclasses import dataclass
from statistics import stdev

from repro.harness.cells import DASH, markdown, number, signed
from repro.harness.claims import ALPHA, Comparison, holm
from repro.harness.experiment import Column, PromptSet, Row
from repro.kinds.scores.declare import Claim, better
from repro.kinds.scores.judge import tested
from repro.kinds.scores.result import ScoresResult

SHOWN = "\u2009*"
RULE = """\
SD: standard deviation of a row's values over its training seeds. Difference: of the row to ROW, positive where the row
is better, of the same training seeds, images and captions, with its 95 % interval over both. *: it is shown not to be
zero, by two-sided tests at 5 % that Holm's procedure adjusts over the rows of a metric. Of three seeds the smallest of
many p is too small at times ([by how much](../docs/decisions/verdicts.md)): a mark of such a row is a hint."""


def against(result: ScoresResult) -> list[str]:
    """A section that compares every row with the one that the table names; nothing where it names none."""
    table = result.experiment
    if not table.against:
        return []
    baseline = table.row(table.against)
    blocks = [f"## Against {baseline.label.lower()}", RULE.replace("ROW", f"*{result.named(baseline)}*")]
    return [*blocks, *(_set(result, prompts, baseline) for prompts in result.profile.prompt_sets)]


@dataclass(frozen=True, slots=True)
class Against:
    """A row beside the one of the table in one metric on one set of prompts.

    Attributes:
        row: that is compared.
        found: the comparison; None where there is nothing to compare.
        is_shown: whether it is shown not to be zero.
    """

    row: Row
    found: Comparison | None
    is_shown: bool


def compared_columns(result: ScoresResult, prompts: PromptSet) -> list[Column]:
    """Metrics in which rows are compared."""
    return [column for column in result.profile.columns if column.role and column.is_of(prompts.key)]


def compared(result: ScoresResult, prompts: PromptSet, column: Column) -> list[Against]:
    """Every other student beside the row that the table names."""
    baseline = result.experiment.row(result.experiment.against)
    others = [row for row in result.rows if row.is_student and row.key != baseline.key]
    found = [_difference(result, prompts, column, row, baseline) for row in others]
    doubled = [
        min(1.0, 2 * min(one.spread.p_above(one.difference), one.spread.p_above(-one.difference)))
        for one in found
        if one is not None
    ]
    adjusted = iter(holm(doubled))
    shown = [one is not None and next(adjusted) <= 2 * ALPHA and one.differs for one in found]
    return [Against(*each) for each in zip(others, found, shown, strict=True)]


def _set(result: ScoresResult, prompts: PromptSet, baseline: Row) -> str:
    columns = compared_columns(result, prompts)
    others = [row for row in result.rows if row.is_student and row.key != baseline.key]
    cells = [[row.label] for row in (baseline, *others)]
    for column in columns:
        texts = ["", *(_text(one, column) for one in compared(result, prompts, column))]
        for line, row, shown in zip(cells, (baseline, *others), texts, strict=True):
            line += [_spread(result, prompts, column, row), shown]
    heads = ["Setup", *(head for column in columns for head in (f"{column.label}, SD", "Difference"))]
    return markdown(heads, cells)


def _difference(result: ScoresResult, prompts: PromptSet, column: Column, row: Row, baseline: Row) -> Comparison | None:
    assert column.role is not None  # columns without are not compared
    claim = Claim(row.key, row.label, better(column.role, row.key, baseline.key, prompts=(prompts.key,)))
    _, found = tested(claim, result.experiment, result.profile, result.records)
    return found if isinstance(found, Comparison) else None


def _text(one: Against, column: Column) -> str:
    if one.found is None:
        return DASH
    value, low, high = (signed(v * column.factor, column.digits) for v in one.found.shown)
    return f"{value} [{low}, {high}]{SHOWN if one.is_shown else ''}"


def _spread(result: ScoresResult, prompts: PromptSet, column: Column, row: Row) -> str:
    found = [record.value for record in result.records.find(row.key, prompts.key, column.key)]
    values = [value * column.factor for value in found if value is not None]
    return number(stdev(values), column.digits) if len(values) > 1 else DASH
