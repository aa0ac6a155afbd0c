"""The tables of a page of scores: what rows cost, the scores of each prompt set, and scores in detail."""

from collections.abc import Sequence

from repro.harness.cells import DASH, Footnotes, estimate, header, markdown, measured, number, paper, with_interval
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.plan import steps_of
from repro.harness.published import column_name, published_cost
from repro.harness.reported import Reported
from repro.harness.schema import Record
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.skipped import remark
from repro.kinds.scores.teachers import teacher_of

NOT_SAMPLED = "Real images: nothing was sampled."
ELSEWHERE = "Its images were sampled elsewhere: what they cost is not known here."


def costs(result: ScoresResult) -> list[str]:
    """What a row costs, once for all sets of prompts, in a table with a clock; others have it beside the scores."""
    if result.experiment.clock is None:
        return []
    marks, reported, theirs = Footnotes(), result.reported, result.published_costs
    heads = ["Setup", "Steps", *(header(column, "paper") for column in theirs)]
    heads += [header(column, "here" if theirs else "") for column in result.costs]
    rows = [
        [
            row.label,
            _steps(result, row),
            *(_paper_cost(reported, row, column, marks) for column in theirs if reported is not None),
            *(_cost(result, row, column, marks) for column in result.costs),
        ]
        for row in result.rows
    ]
    return ["## What a row costs", markdown(heads, rows), marks.text()]


def prompt_set(result: ScoresResult, prompts: PromptSet) -> list[str]:
    """Heading, table and footnotes of one prompt set, with the columns that it has.

    A row without a number is shown where the paper has numbers of it, else named below the table.
    """
    reported = result.reported if prompts.reported else None
    published = _published(reported, prompts)
    columns = [column for column in result.profile.columns if not column.detail and column.is_of(prompts.key)]
    beside = () if result.experiment.clock else result.costs
    marks = Footnotes()
    heads = ["Setup", "Steps", *map(header, beside), *(header(column, "paper") for column in published)]
    heads += [f"{reported.lost} (paper)"] if reported is not None and reported.lost else []
    heads += [head for column in columns for head in _heads(column)]
    shown = [row for row in result.rows if published or _has(result, row, prompts, columns)]
    rows = []
    for row in shown or result.rows:
        cells = [marks.mark(row.label, remark(result, row, prompts)), _steps(result, row)]
        cells += [_cost(result, row, column, marks) for column in beside]
        if reported is not None:
            cells += [paper(reported, row, prompts, column, marks) for column in published]
            cells += ["not recovered" if row.is_student else DASH] if reported.lost else []
        cells += [cell for column in columns for cell in _measured(result, row, prompts, column, marks)]
        rows.append(cells)
    others = [row for row in result.rows if shown and row not in shown]
    sources = f"*Here: {prompts.label}. Paper: {prompts.reported}.*" if published and not result.profile.scorers else ""
    blocks = [f"## {_upper(prompts.label)}", sources, markdown(heads, rows), marks.text()]
    return [*blocks, _without(result, others, prompts)]


def _has(result: ScoresResult, row: Row, prompts: PromptSet, columns: Sequence[Column]) -> bool:
    return any(estimate(result.records.find(row.key, prompts.key, column.key)) for column in columns)


def _without(result: ScoresResult, rows: Sequence[Row], prompts: PromptSet) -> str:
    """Which rows have no number of a set: those that have none at all say why elsewhere."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        notes = [record.note for record in result.records.records if _is_empty(record, row, prompts.key)]
        elsewhere = any(record.value is not None and record.prompts for record in result.records_of(row))
        alone = len(result.profile.prompt_sets) == 1
        reason = notes[0] if notes and (elsewhere or alone) else "Not measured; the other tables say why."
        reasons.setdefault(reason, []).append(result.named(row))
    return "\n".join(f"- {', '.join(names)}: {reason[:1].lower()}{reason[1:]}" for reason, names in reasons.items())


def _is_empty(record: Record, row: Row, prompts: str) -> bool:
    return (record.variant, record.prompts, record.value) == (row.key, prompts, None)


def _cost(result: ScoresResult, row: Row, column: Column, marks: Footnotes) -> str:
    """What a row costs, or a dash with the reason: that of a row without numbers, or that it was sampled elsewhere."""
    if row.real:
        return marks.dash(NOT_SAMPLED)
    records = result.records_of(row)
    if not result.records.find(row.key, "", column.key) and records:
        empty = [record.note for record in records if record.value is None]
        has_numbers = any(record.value is not None for record in records)
        return marks.dash(ELSEWHERE if has_numbers or not empty else empty[0])
    return _here(result, row, "", column, marks)


def _here(result: ScoresResult, row: Row, prompts: str, column: Column, notes: Footnotes) -> str:
    """A measured cell with what is to be remarked on it, or a dash with the reason why it is missing."""
    found = result.records.find(row.key, prompts, column.key)
    noted = [record.note for record in found if record.note]
    if (shown := measured(result.records, row.key, prompts, column.key)) is not None:
        return notes.mark(with_interval(shown, column), noted[0] if noted else "")
    return notes.dash(noted[0] if noted else result.profile.missing.get(column.key, "Not measured yet."))


def details(result: ScoresResult) -> list[str]:
    """One more table for the detail columns of each prompt set; rows without any of them are left out."""
    tables = [block for prompts in result.profile.prompt_sets for block in _details(result, prompts)]
    return ["## In detail", *tables] if tables else []


def _details(result: ScoresResult, prompts: PromptSet) -> list[str]:
    detail = [column for column in result.profile.columns if column.detail]
    columns = [column for column in detail if any(_has(result, row, prompts, [column]) for row in result.rows)]
    if not columns:
        return []
    marks = Footnotes()
    rows = [
        [
            marks.mark(row.label, remark(result, row, prompts)),
            _steps(result, row),
            *(_here(result, row, prompts.key, column, marks) for column in columns),
        ]
        for row in result.rows
        if _has(result, row, prompts, columns)
    ]
    heads = ["Setup", "Steps", *map(header, columns)]
    return [f"### {_upper(prompts.label)}", markdown(heads, rows), marks.text()]


def _paper_cost(reported: Reported, row: Row, column: Column, marks: Footnotes) -> str:
    """A published cost, or a dash with the reason why there is none."""
    value = published_cost(reported, row, column.key)
    return marks.dash(reported.missing) if value is None else number(value * column.factor, column.digits)


def _published(reported: Reported | None, prompts: PromptSet) -> list[Column]:
    """The columns that the publication has of a prompt set."""
    if reported is None:
        return []
    return [column for column in reported.columns if column_name(reported, prompts, column.key) is not None]


def _heads(column: Column) -> list[str]:
    own = header(column, "here")
    return [own, f"{column.label} of the teacher's, %"] if column.of_teacher else [own]


def _measured(result: ScoresResult, row: Row, prompts: PromptSet, column: Column, marks: Footnotes) -> list[str]:
    """The cell of a column, and where it asks for that the share of the teacher's."""
    own = _here(result, row, prompts.key, column, marks)
    return [own, _share(result, row, prompts, column, marks)] if column.of_teacher else [own]


def _share(result: ScoresResult, row: Row, prompts: PromptSet, column: Column, marks: Footnotes) -> str:
    teacher = row if row.is_teacher else teacher_of(row, result.rows, result.profile)
    ours = estimate(result.records.find(row.key, prompts.key, column.key))
    theirs = estimate(result.records.find(teacher.key, prompts.key, column.key)) if teacher else None
    return number(100 * ours.value / theirs.value, 0) if ours and theirs and theirs.value else DASH


def _steps(result: ScoresResult, row: Row) -> str:
    steps = steps_of(result.profile, row)
    return DASH if steps is None else str(steps)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
