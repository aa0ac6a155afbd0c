"""What stands before the application: headers of security, and bodies that are refused before they are read."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from repro.study.errors import RefusedError

MAX_BODY = 16 * 1024  # bytes; a form has a few hundred
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer, under which browsers send forms with "Origin: null"; other origins learn nothing either way
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Middleware; a body whose length is not said is refused where it grows too long.

    Args:
        app: the application.
        too_large: answers in place of it.
    """

    def __init__(self, app: ASGIApp, too_large: ASGIApp) -> None:
        self._app, self._too_large = app, too_large

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _with_headers(scope, send)
        if _said_length(scope) > MAX_BODY:
            await self._too_large(scope, receive, answer)
            return
        await self._app(scope, _bounded(receive), answer)


def _said_length(scope: Scope) -> int:
    said = dict(scope["headers"]).get(b"content-length", b"0")
    return int(said) if said.isdigit() else 0


def _bounded(receive: Receive) -> Receive:
    length = 0

    async def bounded() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > MAX_BODY:
            raise RefusedError(413, "too_large")
        return message

    return bounded


def _with_headers(scope: Scope, send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            is_static = scope["path"].startswith("/static/")  # the same for everybody
            headers.setdefault("Cache-Control", "no-cache" if is_static else "private, no-store")
            if message["status"] == 413:
                headers["Connection"] = "close"  # the rest of the body is not read
        await send(message)

    return answer
