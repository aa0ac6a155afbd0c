"""Pages from templates; whatever is put into one is escaped."""

import json
from collections.abc import Mapping
from typing import Any, cast, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from repro.harness.votes.vote import Choice, Criterion
from repro.study.access import Person
from repro.study.assignment import Answer, Progress, side_of
from repro.study.database import Row
from repro.study.definition import Study
from repro.study.errors import RefusedError
from repro.study.texts import Texts

CHOICES = get_args(Choice)
GO_BACK = {"not_assigned", "taken", "bad_answer", "bad_criterion", "forged", "too_many", "full_disk", "busy"}


class Pages:
    """The pages of a study in its language.

    Args:
        study: its definition.
        texts: its words.
    """

    def __init__(self, study: Study, texts: Texts) -> None:
        self._study, self._texts = study, texts
        self._environment = Environment(
            loader=PackageLoader("repro.study", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["text"] = texts

    def render(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page."""
        return HTMLResponse(self._environment.get_template(f"{template}.html").render(values), status_code=status)

    def refused(self, status: int, key: str) -> HTMLResponse:
        """A page that says why not."""
        return self.render("refused", status, key=key, back=key in GO_BACK)

    def read_answer(self, criterion: Criterion, form: Mapping[str, str]) -> Answer | None:
        """What a form of a pair says; None where a question of it has no answer.

        Raises:
            RefusedError: an answer that is not offered.
        """
        parts = self._texts.parts(criterion) if self._study.sub_questions == "asked" else []
        given = {part: form.get(f"part.{part}", "") for part in parts}
        choice, revision = form.get("choice", ""), form.get("revision", "")
        if not revision.isascii() or not revision.isdecimal() or {choice, *given.values()} - {*CHOICES, ""}:
            raise RefusedError(422, "bad_answer")
        if not choice or not all(given.values()):
            return None
        return Answer(choice=cast(Choice, choice), parts=given, revision=int(revision))

    def pair(
        self, row: Row, person: Person, progress: Progress, *, previous: str | None, problem: "Problem | None" = None
    ) -> HTMLResponse:
        """The page of voting, or voting again with what was wrong."""
        answered = row["choice"] is not None
        given = problem.given if problem else {}
        stored = json.loads(row["parts"])
        parts = self._texts.parts(row["criterion"])
        return self.render(
            "pair",
            problem.status if problem else 200,
            token=row["token"],
            criterion=row["criterion"],
            caption=row["caption"],
            training=row["kind"] == "training",
            images={"left": row["left_token"], "right": row["right_token"]},
            parts=parts,
            asked=self._study.sub_questions == "asked",
            chosen_parts={part: given.get(f"part.{part}", stored.get(part)) for part in parts},
            choice=given.get("choice", row["choice"]),
            revision=row["revision"],
            message=problem.message if problem else ("changing" if answered else None),
            csrf=person.csrf,
            progress=progress,
            previous=previous,
        )

    def feedback(self, row: Row) -> HTMLResponse:
        """What was expected of a training pair."""
        expected = side_of(row)
        return self.render(
            "feedback",
            criterion=row["criterion"],
            caption=row["caption"],
            right=row["choice"] == expected,
            expected=expected,
            why=row["why"],
            images={"left": row["left_token"], "right": row["right_token"]},
        )


class Problem:
    """Why a form is shown again.

    Args:
        status: of HTTP.
        message: key of the text below ``pair``.
        given: what was in the form.
    """

    def __init__(self, status: int, message: str, given: Mapping[str, str] | None = None) -> None:
        self.status, self.message, self.given = status, message, given or {}
