"""The tables of a page of scores: what rows cost, the scores of each prompt set, and scores in detail."""

from repro.harness.cells import DASH, Footnotes, estimate, header, here, markdown, number, paper
from repro.harness.experiment import Column, PromptSet, Reported, Row
from repro.harness.plan import steps_of
from repro.harness.published import column_name, published_cost
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.skipped import remark
from repro.kinds.scores.teachers import teacher_of


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
            *(here(result.records, row, "", column, result.profile, marks) for column in result.costs),
        ]
        for row in result.rows
    ]
    return ["## What a row costs", markdown(heads, rows), marks.text()]


def prompt_set(result: ScoresResult, prompts: PromptSet) -> list[str]:
    """Heading, table and footnotes of one prompt set, with the columns that it has."""
    reported = result.reported if prompts.reported else None
    published = _published(reported, prompts)
    measured = [column for column in result.profile.columns if not column.detail and column.is_of(prompts.key)]
    beside = () if result.experiment.clock else result.costs
    marks = Footnotes()
    heads = ["Setup", "Steps", *map(header, beside), *(header(column, "paper") for column in published)]
    heads += [head for column in measured for head in _heads(column)]
    rows = []
    for row in result.rows:
        cells = [marks.mark(row.label, remark(result, row, prompts)), _steps(result, row)]
        cells += [here(result.records, row, prompts.key, column, result.profile, marks) for column in beside]
        if reported is not None:
            cells += [paper(reported, row, prompts, column, marks) for column in published]
        cells += [cell for column in measured for cell in _measured(result, row, prompts, column, marks)]
        rows.append(cells)
    sources = f"*Here: {prompts.label}. Paper: {prompts.reported}.*" if published else ""
    same = prompts.label == prompts.reported
    return [f"## {_upper(prompts.label)}", "" if same else sources, markdown(heads, rows), marks.text()]


def details(result: ScoresResult) -> list[str]:
    """One more table for the detail columns of each prompt set; rows without any of them are left out."""
    tables = [block for prompts in result.profile.prompt_sets for block in _details(result, prompts)]
    return ["## In detail", *tables] if tables else []


def _details(result: ScoresResult, prompts: PromptSet) -> list[str]:
    def has(row: Row, column: Column) -> bool:
        return estimate(result.records.find(row.key, prompts.key, column.key)) is not None

    columns = [c for c in result.profile.columns if c.detail and any(has(row, c) for row in result.rows)]
    if not columns:
        return []
    marks = Footnotes()
    rows = [
        [
            marks.mark(row.label, remark(result, row, prompts)),
            _steps(result, row),
            *(here(result.records, row, prompts.key, column, result.profile, marks) for column in columns),
        ]
        for row in result.rows
        if any(has(row, column) for column in columns)
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
    own = here(result.records, row, prompts.key, column, result.profile, marks)
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
