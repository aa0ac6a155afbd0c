"""The scores of one row of a table, as every export needs them: one number for each prompt set and metric."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repro.harness.agreement import Cell
from repro.harness.cells import Estimate, measured
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.profile import Profile
from repro.harness.result import Measured
from repro.harness.schema import Record, Run


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over training seeds with its 95 % interval, in the unit of the records.

    Args:
        prompts: set of prompts; None for what belongs to none, such as a latency.
        column: metric.
        estimate: value and interval.
        records: behind it, one for each training seed.
        published: the same number in publications, with what came of the comparison.
    """

    prompts: PromptSet | None
    column: Column
    estimate: Estimate
    records: tuple[Record, ...]
    published: tuple[Cell, ...] = ()

    @property
    def n(self) -> int:
        """Images or prompts behind the number of each training seed."""
        return min(record.n for record in self.records)

    @property
    def key(self) -> str:
        """Prompt set and metric in one word."""
        return f"{self.prompts.key}_{self.column.key}" if self.prompts else self.column.key


@dataclass(frozen=True, slots=True)
class RowScores:
    """All scores of a row.

    Args:
        table: key of the experiment.
        profile: it was measured in.
        row: of the table.
        run: the newest run behind the scores.
        scores: prompt sets in the order of the profile, metrics in the order of its columns.
    """

    table: str
    profile: Profile
    row: Row
    run: Run
    scores: tuple[Score, ...]

    @property
    def stem(self) -> str:
        """Name of table and profile in one word, for folders."""
        return f"{self.table}.{self.profile.name}"

    @property
    def folder(self) -> str:
        """Of the row below that; systems measured from a folder of images bring names that no one has checked."""
        return re.sub(r"[^\w.-]", "-", self.row.key).strip(".") or "-"


def row_scores(result: Measured[Any]) -> tuple[RowScores, ...]:
    """Every row of a result that has scores; empty where the kind of result has no rows of models."""
    runs = {run.run: run for run in result.records.runs}
    found = []
    for row in result.scored_rows:
        scores = tuple(_scores(result, row))
        if scores:
            behind = {record.run for score in scores for record in score.records}
            run = max((runs[name] for name in behind), key=lambda run: (run.start, run.run))
            found.append(RowScores(result.experiment.key, result.profile, row, run, scores))
    return tuple(found)


def _scores(result: Measured[Any], row: Row) -> Iterator[Score]:
    for prompts in (*result.profile.prompt_sets, None):
        for column in result.score_columns:
            records = _records(result, row, prompts, column)
            shown = measured(result.records, row.key, prompts.key if prompts else "", column.key) if records else None
            if column.better is not None and shown is not None:
                yield Score(prompts, column, shown, tuple(records), _published(result, row, prompts, column))


def _published(result: Measured[Any], row: Row, prompts: PromptSet | None, column: Column) -> tuple[Cell, ...]:
    wanted = (row.key, prompts.key if prompts else "", column.key)
    return tuple(cell for cell in result.agreement if (cell.row.key, cell.prompts.key, cell.column.key) == wanted)


def _records(result: Measured[Any], row: Row, prompts: PromptSet | None, column: Column) -> list[Record]:
    """Of that prompt set alone: what belongs to no set does not stand in for one here."""
    wanted = prompts.key if prompts else ""
    found = result.records.find(row.key, wanted, column.key)
    return [record for record in found if record.prompts == wanted and record.value is not None]
