"""Votes out of the database, in the form that every analysis reads."""

import csv
import io
import json
from collections.abc import Iterator

from repro.harness.votes.vote import Vote
from repro.study.assignment import side_of
from repro.study.database import Database, Row
from repro.study.definition import Study

_ANSWERED = """
SELECT t.*, a.*, g.name AS assessor_name FROM assignment a JOIN task t ON t.id = a.task
JOIN assessor g ON g.id = a.assessor WHERE a.choice IS NOT NULL AND t.kind != 'training' AND NOT g.discarded
ORDER BY t.criterion, t.rank, g.id
"""


def read_votes(database: Database, study: Study) -> Iterator[Vote]:
    """Every answer to a pair of the study or an attention check, each once.

    Answers to training pairs are no votes, nor are those that were discarded with their assessor. The systems of a
    check are called ``first`` and ``second``, its prompt ``check-<number>``.
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


def part_answers(database: Database, study: Study) -> str:
    """Answers to the parts of the questions as a CSV, a row for each; a vote itself has only the whole answer."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["study", "prompt", "image", "criterion", "part", "left", "right", "choice", "assessor"])
    for row in database.rows(_ANSWERED):
        vote = _vote(row, study)
        for part, choice in json.loads(row["parts"]).items():
            shown = (vote.study, vote.prompt, vote.image, vote.criterion, part, vote.left, vote.right)
            writer.writerow([*shown, choice, vote.assessor])
    return stream.getvalue()
