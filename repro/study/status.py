"""How far a study is: for `study status` and the page of who runs it."""

import time
from dataclasses import dataclass

from repro.study.assignment import Assignments
from repro.study.database import Database, Row
from repro.study.definition import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class AssessorState:
    """One assessor.

    Args:
        done: answers to pairs of the study.
        share: how many make the share.
        checks, checks_right: attention checks answered, and answered as expected.
        last: UTC of the last answer; empty before one.
        link: active, expired, revoked, or discarded with all answers.
    """

    name: str
    done: int
    share: int
    checks: int
    checks_right: int
    last: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionState:
    """One question: answers given, and wanted."""

    criterion: str
    done: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A study: answers given and wanted, and how many questions about a pair have all of theirs."""

    done: int
    wanted: int
    complete: int
    pairs: int
    assessors: tuple[AssessorState, ...]
    criteria: tuple[CriterionState, ...]


_PER_TASK = (
    "SELECT t.criterion, sum(a.choice IS NOT NULL) AS done FROM task t LEFT JOIN assignment a ON a.task = t.id "
    "AND a.assessor NOT IN (SELECT id FROM assessor WHERE discarded) WHERE t.kind = 'study' GROUP BY t.id"
)
_PER_ASSESSOR = """
SELECT g.*, max(a.answered) AS last, total(t.kind = 'study') AS done, total(t.kind = 'attention') AS checks,
total(t.kind = 'attention' AND a.choice = CASE WHEN t.answer = 'tie' THEN 'tie'
WHEN (t.answer = 'first') != a.flipped THEN 'left' ELSE 'right' END) AS checks_right
FROM assessor g LEFT JOIN assignment a ON a.assessor = g.id AND a.choice IS NOT NULL
LEFT JOIN task t ON t.id = a.task WHERE g.role = 'assessor' GROUP BY g.id ORDER BY g.id
"""


def read_state(database: Database, study: Study) -> State:
    """Count what is in the database."""
    tasks = database.rows(_PER_TASK)
    assignments = Assignments(database, study)
    criteria = []
    for criterion in study.criteria:
        counts = [row["done"] or 0 for row in tasks if row["criterion"] == criterion]
        criteria.append(CriterionState(criterion=criterion, done=sum(counts), wanted=len(counts) * study.assessors))
    return State(
        done=sum(each.done for each in criteria),
        wanted=sum(each.wanted for each in criteria),
        complete=sum((row["done"] or 0) >= study.assessors for row in tasks),
        pairs=len(tasks),
        assessors=tuple(_assessor(row, assignments, study) for row in database.rows(_PER_ASSESSOR)),
        criteria=tuple(criteria),
    )


def _assessor(row: Row, assignments: Assignments, study: Study) -> AssessorState:
    link = _link(row)
    share = sum(assignments.share(row["id"], criterion) for criterion in study.criteria)
    return AssessorState(
        name=row["name"],
        done=int(row["done"]),
        share=share if link == "active" else int(row["done"]),
        checks=int(row["checks"]),
        checks_right=int(row["checks_right"]),
        last=time.strftime("%Y-%m-%d %H:%M", time.gmtime(row["last"])) if row["last"] else "",
        link=link,
    )


def _link(row: Row) -> str:
    if row["discarded"]:
        return "discarded"
    if row["revoked"]:
        return "revoked"
    return "expired" if row["expires"] <= time.time() else "active"


def describe(state: State) -> str:
    """The state in lines, for a terminal."""
    lines = [
        f"{state.done:,} of {state.wanted:,} answers; {state.complete:,} of {state.pairs:,} questions about a pair "
        "have all of theirs",
        *(f"  {each.criterion:<12} {each.done:>6,} of {each.wanted:,}" for each in state.criteria),
    ]
    for each in state.assessors:
        checks = f"attention checks {each.checks_right} of {each.checks}"
        last = f", last {each.last} UTC" if each.last else ""
        lines.append(f"  {each.name:<12} {each.done:>6,} of {each.share:,}, {checks}, link {each.link}{last}")
    return "\n".join(lines) + "\n"
