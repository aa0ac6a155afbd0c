"""Who may do what: links with tokens, sessions, forms that are the server's own, and bounds on how often.

A link holds a token of 192 bits; the database holds its SHA-256 alone. Opening it shows a page whose button exchanges
the token for a cookie (HttpOnly, SameSite=Strict): a cookie of that kind is not sent along when a link in a mail is
followed with a redirect, and what fetches links for a preview presses no button. A form carries a token that follows
from the session, and its Origin must be the server's.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from repro.study.database import Database
from repro.study.definition import NAME
from repro.study.errors import RefusedError, StudyError

Role = Literal["assessor", "admin"]
DAY = 24 * 3600.0
SESSIONS = 20  # of one person; the eldest end
REMEMBERED = 10_000  # clients whose rate is known; the eldest are forgotten
_OVER = (  # sessions of links that are gone, and all but the newest of one person
    "DELETE FROM session WHERE assessor IN (SELECT id FROM assessor WHERE revoked OR expires <= ?1) OR hash IN "
    "(SELECT hash FROM session WHERE assessor = ?2 ORDER BY begun DESC LIMIT -1 OFFSET ?3)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who sent a request.

    Args:
        id: in the database.
        name: pseudonym, in every vote.
        role: what the link is for.
        csrf: what a form of this session carries; empty before there is a session.
    """

    id: int
    name: str
    role: Role
    csrf: str = ""


def digest(secret: str) -> str:
    """SHA-256, hexadecimal; enough for secrets that are random."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Access:
    """The links and sessions of a study.

    Args:
        database: where they are.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = clock

    def invite(self, names: Iterable[str], days: float, role: Role = "assessor") -> dict[str, str]:
        """Make a link's token for each name; a name that has one gets another, and the old link and sessions end.

        Raises:
            StudyError: a name with other characters, one of another role or whose answers were discarded, or days
                that are not positive.
        """
        if not days > 0:
            raise StudyError(f"a link holds for {days} days; expected more than 0")
        made = {}
        with self._database.transaction():
            for name in names:
                made[name] = self._invite(name, self._now() + days * DAY, role)
        return made

    def names(self) -> list[str]:
        """Who was invited, in whatever role."""
        return [row["name"] for row in self._database.rows("SELECT name FROM assessor ORDER BY id")]

    def revoke(self, names: Iterable[str], *, discard: bool = False) -> None:
        """Withdraw links; what was answered stays.

        Args:
            names: of assessors or of who runs the study.
            discard: let what they answered count no more: others are asked again, and no export holds it. The database
                keeps it.

        Raises:
            StudyError: nobody of that name was invited.
        """
        with self._database.transaction():
            for name in names:
                changed = self._database.write(
                    "UPDATE assessor SET revoked = 1, discarded = discarded OR ? WHERE name = ?", int(discard), name
                )
                if not changed:
                    raise StudyError(f"nobody was invited as {name!r}; known: {', '.join(self.names())}")

    def person(self, token: str) -> Person:
        """Whose link it is.

        Raises:
            RefusedError: it is not known, has expired, or was withdrawn.
        """
        row = self._database.row("SELECT * FROM assessor WHERE token_hash = ?", digest(token))
        if row is None:
            raise RefusedError(403, "wrong_token")
        if row["revoked"]:
            raise RefusedError(403, "revoked")
        if row["expires"] <= self._now():
            raise RefusedError(403, "expired")
        return Person(id=row["id"], name=row["name"], role=row["role"])

    def begin(self, token: str) -> tuple[Person, str]:
        """Exchange a link's token for a session.

        Returns:
            The person, and the secret of the cookie.

        Raises:
            RefusedError: as `person`.
        """
        person, cookie = self.person(token), secrets.token_urlsafe(24)
        now = self._now()
        with self._database.transaction():
            self._database.write(_OVER, now, person.id, SESSIONS - 1)
            self._database.write("INSERT INTO session VALUES (?, ?, ?)", digest(cookie), person.id, now)
        return person, cookie

    def end(self, cookie: str) -> None:
        """Forget a session."""
        with self._database.transaction():
            self._database.write("DELETE FROM session WHERE hash = ?", digest(cookie))

    def session(self, cookie: str | None) -> Person:
        """Who a cookie belongs to.

        Raises:
            RefusedError: nobody, or the link has expired or was withdrawn.
        """
        if not cookie:
            raise RefusedError(403, "no_token")
        row = self._database.row(
            "SELECT assessor.* FROM session JOIN assessor ON assessor.id = session.assessor WHERE hash = ?",
            digest(cookie),
        )
        if row is None:
            raise RefusedError(403, "no_token")
        if row["revoked"]:
            raise RefusedError(403, "revoked")
        if row["expires"] <= self._now():
            raise RefusedError(403, "expired")
        return Person(id=row["id"], name=row["name"], role=row["role"], csrf=digest(f"csrf/{cookie}"))

    def _invite(self, name: str, expires: float, role: Role) -> str:
        if not NAME.fullmatch(name):
            raise StudyError(f"a pseudonym is {name!r}; expected letters, digits, dots, dashes and underscores")
        token = secrets.token_urlsafe(24)
        known = self._database.row("SELECT id, role, discarded FROM assessor WHERE name = ?", name)
        if known is None:
            self._database.write(
                "INSERT INTO assessor (name, role, token_hash, expires) VALUES (?, ?, ?, ?)",
                name,
                role,
                digest(token),
                expires,
            )
            return token
        if known["role"] != role:
            raise StudyError(f"{name!r} is the name of another role, {known['role']}; expected another name")
        if known["discarded"]:
            raise StudyError(f"the answers of {name!r} were discarded; expected another name")
        self._database.write("DELETE FROM session WHERE assessor = ?", known["id"])
        self._database.write(
            "UPDATE assessor SET token_hash = ?, expires = ?, revoked = 0 WHERE id = ?",
            digest(token),
            expires,
            known["id"],
        )
        return token


def check_form(person: Person, csrf: str | None) -> None:
    """See that a form was made for this session.

    Raises:
        RefusedError: it was not.
    """
    if not person.csrf or not hmac.compare_digest(person.csrf.encode(), (csrf or "").encode()):
        raise RefusedError(403, "forged")


def check_origin(origin: str | None, site: str | None, allowed: Iterable[str]) -> None:
    """See that a form was sent from a page of this server.

    Args:
        origin: header Origin, such as ``http://127.0.0.1:8765``.
        site: header Sec-Fetch-Site, which browsers send to addresses that are safe.
        allowed: origins of this server.

    Raises:
        RefusedError: it was not.
    """
    if (site is not None and site != "same-origin") or (origin is not None and origin not in allowed):
        raise RefusedError(403, "forged")


class RateLimit:
    """A bucket of tokens for each client.

    Args:
        rate: requests a second in the long run.
        burst: requests at once.
        clock: seconds, from any start.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._now = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def check(self, client: str) -> None:
        """Count a request.

        Raises:
            RefusedError: there were too many.
        """
        with self._lock:
            now = self._now()
            left, seen = self._buckets.pop(client, (self._burst, now))
            left = min(self._burst, left + (now - seen) * self._rate)
            is_allowed = left >= 1
            self._buckets[client] = (left - is_allowed, now)  # last in order
            if len(self._buckets) > REMEMBERED:
                del self._buckets[next(iter(self._buckets))]
        if not is_allowed:
            raise RefusedError(429, "too_many")
