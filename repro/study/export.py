"""Votes out of the database, in the form that every analysis reads."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields

from repro.harness.votes.vote import Vote
from repro.study.assignment import side_of
from repro.study.database import Database, Row
from repro.study.definition import Study

_ANSWERED = """
SELECT t.*, a.*, g.name AS assessor_name FROM assignment a JOIN task t ON t.id = a.task
JOIN assessor g ON g.id = a.assessor WHERE a.choice IS NOT NULL AND t.kind != 'training'
ORDER BY t.criterion, t.rank, g.id
"""


def read_votes(database: Database, study: Study) -> Iterator[Vote]:
    """Every answer to a pair of the study or an attention check, each once; training pairs are no votes.

    The systems of a check are called ``first`` and ``second``, its prompt ``check-<number>``.
    """
    for row in database.rows(_ANSWERED):
        yield _vote(row, study)


def _vote(row: Row, study: Study) -> Vote:
    left, right = (row["second"], row["first"]) if row["flipped"] else (row["first"], row["second"])
    return Vote(
        study=study.name,
        prompt=row["prompt"],
        image=row["image"],
        criterion=row["criterion"],
        left=left,
        right=right,
        choice=row["choice"],
        assessor=row["assessor_name"],
        seconds=round(row["seconds"], 3),
        expected=side_of(row) if row["kind"] == "attention" else "",
    )


def votes_text(votes: Iterable[Vote], form: str) -> str:
    """Votes as a file's text.

    Args:
        votes: in order.
        form: ``jsonl`` or ``csv``.
    """
    rows = [asdict(vote) for vote in votes]
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, [field.name for field in fields(Vote)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
