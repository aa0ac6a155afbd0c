"""Who sees which pair, on which side, and what was answered.

An assessor answers in blocks, one for each criterion; the block that comes first rotates from one assessor to the
next. A block is its training pairs, then pairs of the study with attention checks among them. One assessor may judge
a pair by several criteria, in separate blocks, and by each criterion once.

A pair goes to whoever asks for one among those with the fewest answers and claims, in an order that is seeded for
each assessor. Answers that were discarded with their assessor do not count. A claim is a row of ``assignment`` without
an answer; it counts against others until it expires, and the answer is written into that row. Everybody's share of a
block is the number of answers that are wanted, less those of people whose links are gone, divided by the number of
people with a link, rounded up; who has done theirs may take more of what is left.
"""

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from repro.harness.votes.vote import Choice, Criterion
from repro.study.database import Database, Row
from repro.study.definition import Study
from repro.study.errors import RefusedError

MORE = 10  # pairs that "Answer more" adds
_STUDY_ANSWERS = (
    "SELECT count(*) FROM assignment a JOIN task t ON t.id = a.task "
    "WHERE a.assessor = ? AND t.criterion = ? AND t.kind = ? AND a.choice IS NOT NULL"
)
_ACTIVE = "SELECT count(*) FROM assessor WHERE role = 'assessor' AND NOT revoked AND expires > ?"
_KEPT = (  # answers of people whose links are gone
    "SELECT count(*) FROM assessor g CROSS JOIN assignment a ON a.assessor = g.id CROSS JOIN task t ON t.id = a.task "
    "WHERE (g.revoked OR g.expires <= ?2) AND NOT g.discarded AND a.choice IS NOT NULL AND t.kind = 'study' "
    "AND t.criterion = ?1"
)
_OPEN_OF_KIND = (
    "SELECT t.* FROM task t LEFT JOIN assignment m ON m.task = t.id AND m.assessor = ? "
    "WHERE t.criterion = ? AND t.kind = ? AND m.choice IS NULL ORDER BY m.task IS NULL, t.rank LIMIT 1"
)
_NEXT = """
SELECT t.*, count(a.task) AS taken, m.task AS mine FROM task t
LEFT JOIN assignment m ON m.task = t.id AND m.assessor = ?1
LEFT JOIN assignment a ON a.task = t.id AND a.assessor != ?1 AND (a.choice IS NOT NULL OR a.expires > ?2)
AND a.assessor NOT IN (SELECT id FROM assessor WHERE discarded)
WHERE t.criterion = ?3 AND t.kind = 'study' AND m.choice IS NULL
GROUP BY t.id HAVING taken < ?4
ORDER BY m.task IS NULL, taken, (t.rank * ?5 + ?6) % 2147483647 LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """Answers of an assessor: given, and how many make the share (attention checks and training pairs not counted)."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a form says.

    Args:
        choice: the better side.
        parts: answers to the parts of the question.
        revision: how many answers the form knew of.
    """

    choice: Choice
    parts: Mapping[str, str]
    revision: int


def side_of(row: Row) -> Choice:
    """The known answer of a check, as this assessor sees its sides."""
    if row["answer"] == "tie":
        return "tie"
    return "left" if (row["answer"] == "first") != bool(row["flipped"]) else "right"


class Assignments:
    """The pairs of one study.

    Args:
        database: where they are.
        study: its definition.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, study: Study, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._study = study
        self._now = clock

    def next(self, assessor: int) -> str | None:
        """Claim the next pair.

        Returns:
            Token of the claim, or None where nothing is left for this assessor now.
        """
        with self._database.transaction():
            for criterion in self.blocks(assessor):
                if (task := self._next_of_block(assessor, criterion)) is not None:
                    return self._claim(assessor, task)
        return None

    def blocks(self, assessor: int) -> list[Criterion]:
        """The criteria in this assessor's order."""
        criteria = list(self._study.criteria)
        place = self._database.value("SELECT count(*) FROM assessor WHERE role = 'assessor' AND id < ?", assessor)
        start = place % len(criteria)
        return criteria[start:] + criteria[:start]

    def share(self, assessor: int, criterion: Criterion) -> int:
        """How many pairs this assessor is to judge by a criterion, without what was taken in addition."""
        pairs, wanted = self._wanted(criterion)
        now = self._now()
        active: int = self._database.value(_ACTIVE, now)
        kept: int = self._database.value(_KEPT, criterion, now)
        return min(pairs, math.ceil((wanted - kept) / max(active, 1)))

    def progress(self, assessor: int) -> Progress:
        """How far an assessor is."""
        criteria = self._study.criteria
        done = sum(self._answers(assessor, criterion) for criterion in criteria)
        total = sum(self.share(assessor, criterion) for criterion in criteria) + self._extra(assessor)
        return Progress(done, max(done, min(total, sum(self._wanted(criterion)[0] for criterion in criteria))))

    def is_open(self, assessor: int) -> bool:
        """Whether pairs are left that this assessor has not judged."""
        return any(self._candidate(assessor, criterion) is not None for criterion in self._study.criteria)

    def is_finished(self, assessor: int) -> bool:
        """Whether the share is done, whatever is left."""
        return all(self._answers(assessor, c) >= self.share(assessor, c) for c in self._study.criteria)

    def take_more(self, assessor: int) -> None:
        """Let an assessor go on beyond the share."""
        with self._database.transaction():
            if self.is_finished(assessor):
                done = sum(self._answers(assessor, c) - self.share(assessor, c) for c in self._study.criteria)
                self._database.write("UPDATE assessor SET extra = ? WHERE id = ?", max(done, 0) + MORE, assessor)

    def find(self, assessor: int, token: str) -> Row:
        """The task and claim of a token.

        Raises:
            RefusedError: it is not this assessor's.
        """
        found = self._database.row(
            "SELECT t.*, a.* FROM assignment a JOIN task t ON t.id = a.task WHERE a.token = ? AND a.assessor = ?",
            token,
            assessor,
        )
        if found is None:
            raise RefusedError(403, "not_assigned")
        return found

    def previous(self, assessor: int, number: int | None) -> str | None:
        """Token of the pair that was answered before the one of that number, or last."""
        found: str | None = self._database.value(
            "SELECT token FROM assignment a JOIN task t ON t.id = a.task WHERE assessor = ? AND kind != 'training' "
            "AND number IS NOT NULL AND (?2 IS NULL OR number < ?2) ORDER BY number DESC LIMIT 1",
            assessor,
            number,
        )
        return found

    def image(self, assessor: int, token: str) -> str:
        """SHA-256 of the image behind a token.

        Raises:
            RefusedError: it is not this assessor's.
        """
        row = self._database.row(
            "SELECT first_image, second_image, flipped, left_token FROM assignment a JOIN task t ON t.id = a.task "
            "WHERE (left_token = ?1 OR right_token = ?1) AND assessor = ?2",
            token,
            assessor,
        )
        if row is None:
            raise RefusedError(403, "not_assigned")
        is_first = (row["left_token"] == token) != bool(row["flipped"])
        found: str = row["first_image"] if is_first else row["second_image"]
        return found

    def answer(self, assessor: int, token: str, answer: Answer) -> bool:
        """Write an answer; it is on the disk when this returns.

        Returns:
            Whether it was written: False where the same form came twice, with the same answer.

        Raises:
            RefusedError: not this assessor's pair, answered elsewhere since the form was made, or given to others.
            FullDiskError: it could not be written.
        """
        with self._database.transaction():
            row = self.find(assessor, token)
            if row["revision"] != answer.revision:
                if row["choice"] == answer.choice and json.loads(row["parts"]) == dict(answer.parts):
                    return False
                raise RefusedError(409, "twice")
            now = self._now()
            if row["choice"] is None and row["expires"] <= now and self._taken(row["task"], assessor, now):
                raise RefusedError(409, "taken")
            self._database.write(
                "UPDATE assignment SET choice = ?, parts = ?, revision = revision + 1, answered = ?, "
                "seconds = coalesce(seconds, ?), number = coalesce(number, (SELECT coalesce(max(number), 0) + 1 "
                "FROM assignment WHERE assessor = ?)) WHERE token = ?",
                answer.choice,
                json.dumps(dict(answer.parts)),
                now,
                max(now - row["shown"], 0.0),
                assessor,
                token,
            )
            return True

    def _next_of_block(self, assessor: int, criterion: Criterion) -> Row | None:
        done = self._answers(assessor, criterion)
        limit = self.share(assessor, criterion)
        if done >= limit and self._extra_left(assessor) <= 0:
            return None
        if (candidate := self._candidate(assessor, criterion)) is None:
            return None
        if (training := self._database.row(_OPEN_OF_KIND, assessor, criterion, "training")) is not None:
            return training
        checked = self._database.value(_STUDY_ANSWERS, assessor, criterion, "attention")
        if checked < math.floor(done * self._study.attention + self._draw(assessor, criterion)):
            return self._database.row(_OPEN_OF_KIND, assessor, criterion, "attention") or candidate
        return candidate

    def _candidate(self, assessor: int, criterion: Criterion) -> Row | None:
        draw = self._draw(assessor, f"order/{criterion}")
        order = (1 + int(draw * 2**31), int(draw * 2**20))
        return self._database.row(_NEXT, assessor, self._now(), criterion, self._study.assessors, *order)

    def _claim(self, assessor: int, task: Row) -> str:
        """A claim that is new or taken up again; one that has not expired is left alone."""
        now = self._now()
        token = secrets.token_urlsafe(16)
        self._database.write(
            "INSERT INTO assignment (task, assessor, token, left_token, right_token, flipped, shown, expires) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
            "ON CONFLICT (task, assessor) DO UPDATE SET shown = ?7, expires = ?8 "
            "WHERE choice IS NULL AND expires <= ?7",
            task["id"],
            assessor,
            token,
            secrets.token_urlsafe(16),
            secrets.token_urlsafe(16),
            int(self._draw(assessor, f"side/{task['kind']}/{task['rank']}") < 0.5),
            now,
            now + 60 * self._study.claim_minutes,
        )
        found: str = self._database.value(
            "SELECT token FROM assignment WHERE task = ? AND assessor = ?", task["id"], assessor
        )
        return found

    def _taken(self, task: int, assessor: int, now: float) -> bool:
        others = self._database.value(
            "SELECT count(*) FROM assignment a JOIN task t ON t.id = a.task WHERE task = ? AND assessor != ? "
            "AND kind = 'study' AND (choice IS NOT NULL OR a.expires > ?) "
            "AND assessor NOT IN (SELECT id FROM assessor WHERE discarded)",
            task,
            assessor,
            now,
        )
        return bool(others >= self._study.assessors)

    def _answers(self, assessor: int, criterion: Criterion) -> int:
        found: int = self._database.value(_STUDY_ANSWERS, assessor, criterion, "study")
        return found

    def _extra(self, assessor: int) -> int:
        found: int = self._database.value("SELECT extra FROM assessor WHERE id = ?", assessor)
        return found

    def _extra_left(self, assessor: int) -> int:
        if not (extra := self._extra(assessor)):
            return 0
        beyond = sum(max(self._answers(assessor, c) - self.share(assessor, c), 0) for c in self._study.criteria)
        return extra - beyond

    def _wanted(self, criterion: Criterion) -> tuple[int, int]:
        """Pairs of a criterion, and answers that are wanted to them."""
        pairs: int = self._database.value("SELECT count(*) FROM task WHERE kind = 'study' AND criterion = ?", criterion)
        return pairs, pairs * self._study.assessors

    def _draw(self, assessor: int, purpose: str) -> float:
        """Uniform in [0, 1), from the seed."""
        key = f"{self._study.seed}/{assessor}/{purpose}".encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:6], "big") / 2**48
