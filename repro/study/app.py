"""The server's pages: what each address does. An answer is acknowledged only after it is on the disk."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from repro.study.access import Access, Person, RateLimit, check_form, check_origin, digest
from repro.study.assignment import Assignments
from repro.study.database import Database
from repro.study.definition import Study
from repro.study.errors import RefusedError
from repro.study.guard import HEADERS, Guard
from repro.study.pages import Pages, Problem
from repro.study.status import read_state
from repro.study.texts import Texts

MAX_FIELDS = 32
Form = Mapping[str, str]
Handler = Callable[[Request, Form], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a study is served.

    Args:
        origins: addresses that its pages are opened under, such as ``http://127.0.0.1:8765``; the first is public.
        rate: requests a second of one session in the long run; five times as many may come at once.
        guesses: requests a second without a session, of one address.
    """

    origins: Sequence[str]
    rate: float = 20.0
    guesses: float = 2.0

    @property
    def hosts(self) -> list[str]:
        """Names of the server; addresses of IPv6 with their brackets, as requests have them, and without."""
        names = {urlsplit(origin).hostname or "" for origin in self.origins}
        return sorted(names | {f"[{name}]" for name in names if ":" in name})

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it by HTTPS."""
        return self.origins[0].startswith("https://")


class StudyServer:
    """A study that is served.

    Args:
        study: its definition.
        texts: its words.
        database: its votes.
        images: SHA-256 of a source -> the copy that is served.
        settings: addresses and limits.
    """

    def __init__(
        self, study: Study, texts: Texts, database: Database, images: Mapping[str, Path], settings: Settings
    ) -> None:
        self._study, self._database, self._images, self._settings = study, database, images, settings
        self._cookie = f"study-{digest(str(study.file))[:16]}"  # cookies do not know ports: one host may serve several
        self._access = Access(database)
        self._assignments = Assignments(database, study)
        self._pages = Pages(study, texts)
        self._sessions = RateLimit(settings.rate, 5 * settings.rate)
        self._strangers = RateLimit(settings.guesses, 10 * settings.guesses)

    def app(self) -> Starlette:
        """The application."""
        get = {
            "/": self._home,
            "/enter/{token}": self._welcome,
            "/next": self._next,
            "/pair/{token}": self._pair,
            "/feedback/{token}": self._feedback,
            "/image/{token}": self._image,
            "/finish": self._finish,
            "/paused": self._paused,
            "/admin": self._admin,
        }
        post = {"/enter": self._enter, "/pair/{token}": self._answer, "/more": self._more, "/pause": self._pause}
        routes: list[BaseRoute] = [Route(path, _endpoint(handler), methods=["GET"]) for path, handler in get.items()]
        routes += [Route(path, _endpoint(self._own(handler)), methods=["POST"]) for path, handler in post.items()]
        static = StaticFiles(directory=Path(__file__).parent / "static")
        app = Starlette(
            routes=[*routes, Mount("/static", static)],
            middleware=[
                Middleware(Guard, too_large=self._pages.refused(413, "too_large")),
                Middleware(TrustedHostMiddleware, allowed_hosts=self._settings.hosts, www_redirect=False),
            ],
            exception_handlers={RefusedError: self._refused, HTTPException: self._missing, Exception: self._broken},
        )
        app.state.database = self._database
        return app

    # who

    def _person(self, request: Request) -> Person:
        cookie = request.cookies.get(self._cookie)
        try:
            person = self._access.session(cookie)
        except RefusedError:
            self._stranger(request)
            raise
        self._sessions.check(str(person.id))
        return person

    def _assessor(self, request: Request) -> Person:
        if (person := self._person(request)).role != "assessor":
            raise RefusedError(403, "not_allowed")
        return person

    def _stranger(self, request: Request) -> None:
        self._strangers.check(request.client.host if request.client else "")

    def _own(self, handler: Handler) -> Handler:
        """A handler of forms that come from a page of this server."""

        def checked(request: Request, form: Form) -> Response:
            headers = request.headers
            check_origin(headers.get("origin"), headers.get("sec-fetch-site"), self._settings.origins)
            return handler(request, form)

        return checked

    def _sender(self, request: Request, form: Form) -> Person:
        person = self._assessor(request)
        check_form(person, form.get("csrf"))
        return person

    # links and sessions

    @property
    def _cookie_flags(self) -> Any:
        return {"httponly": True, "samesite": "strict", "secure": self._settings.is_secure}

    def _welcome(self, request: Request, _: Form) -> Response:
        self._stranger(request)
        token = request.path_params["token"]
        return self._pages.render("enter", name=self._access.person(token).name, token=token)

    def _enter(self, request: Request, form: Form) -> Response:
        self._stranger(request)
        person, cookie = self._access.begin(form.get("token", ""))
        answer = _to("/" if person.role == "assessor" else "/admin")
        answer.set_cookie(self._cookie, cookie, max_age=400 * 24 * 3600, **self._cookie_flags)
        return answer

    def _pause(self, request: Request, form: Form) -> Response:
        self._sender(request, form)
        self._access.end(request.cookies[self._cookie])
        answer = _to("/paused")
        answer.delete_cookie(self._cookie, **self._cookie_flags)
        return answer

    def _paused(self, request: Request, _: Form) -> Response:
        self._stranger(request)
        return self._pages.render("paused")

    # voting

    def _home(self, request: Request, _: Form) -> Response:
        person = self._person(request)
        if person.role == "admin":
            return _to("/admin")
        return self._pages.render("home", progress=self._assignments.progress(person.id))

    def _next(self, request: Request, _: Form) -> Response:
        return self._to_next(self._assessor(request))

    def _pair(self, request: Request, _: Form) -> Response:
        return self._show(self._assessor(request), request.path_params["token"])

    def _show(self, person: Person, token: str, problem: Problem | None = None) -> Response:
        row = self._assignments.find(person.id, token)
        progress = self._assignments.progress(person.id)
        previous = self._assignments.previous(person.id, row["number"])
        return self._pages.pair(row, person, progress, previous=previous, problem=problem)

    def _answer(self, request: Request, form: Form) -> Response:
        person, token = self._sender(request, form), request.path_params["token"]
        row = self._assignments.find(person.id, token)
        if form.get("criterion") != row["criterion"]:
            raise RefusedError(422, "bad_criterion")
        answer = self._pages.read_answer(row["criterion"], form)
        if answer is None:
            return self._show(person, token, Problem(422, "incomplete", form))
        try:
            self._assignments.answer(person.id, token, answer)
        except RefusedError as error:
            if error.key == "twice":
                return self._show(person, token, Problem(409, "twice"))
            raise
        return _to(f"/feedback/{token}") if row["kind"] == "training" else self._to_next(person)

    def _feedback(self, request: Request, _: Form) -> Response:
        person, token = self._assessor(request), request.path_params["token"]
        row = self._assignments.find(person.id, token)
        if row["kind"] != "training" or row["choice"] is None:
            raise RefusedError(403, "not_allowed")  # it would tell the answer
        return self._pages.feedback(row)

    def _image(self, request: Request, _: Form) -> Response:
        person = self._assessor(request)
        source = self._assignments.image(person.id, request.path_params["token"])
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(self._images[source].read_bytes(), media_type="image/png", headers=headers)

    def _finish(self, request: Request, _: Form) -> Response:
        person = self._assessor(request)
        return self._pages.render(
            "finish",
            finished=self._assignments.is_finished(person.id),
            open=self._assignments.is_open(person.id),
            progress=self._assignments.progress(person.id),
            previous=self._assignments.previous(person.id, None),
            csrf=person.csrf,
        )

    def _more(self, request: Request, form: Form) -> Response:
        person = self._sender(request, form)
        self._assignments.take_more(person.id)
        return self._to_next(person)

    def _to_next(self, person: Person) -> Response:
        token = self._assignments.next(person.id)
        return _to("/finish" if token is None else f"/pair/{token}")

    # whoever runs the study

    def _admin(self, request: Request, _: Form) -> Response:
        if self._person(request).role != "admin":
            raise RefusedError(403, "not_allowed")
        return self._pages.render("admin", name=self._study.name, state=read_state(self._database, self._study))

    # what goes wrong

    def _refused(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        answer = self._pages.refused(error.status, error.key)
        if error.status == 429:
            answer.headers["Retry-After"] = "5"
        return answer

    def _missing(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return self._pages.refused(error.status_code, "not_found")

    def _broken(self, _: Request, __: Exception) -> Response:
        answer = self._pages.refused(500, "broken")
        answer.headers.update({**HEADERS, "Cache-Control": "private, no-store"})  # it is sent outside of the guard
        return answer


def _endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        form = await _read_form(request) if request.method == "POST" else {}
        return await run_in_threadpool(handler, request, form)

    return endpoint


async def _read_form(request: Request) -> dict[str, str]:
    """Fields of a form; of a field that comes twice, the last. The body is bounded by `Guard`."""
    try:
        fields = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:  # other encodings, too many fields
        raise RefusedError(422, "bad_answer") from error
    return dict(fields)


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)
