"""The database of a study: SQLite in WAL mode, where a commit is on the disk before anybody hears of it.

``synchronous=FULL`` syncs the log at every commit, so that a vote that was answered survives ``kill -9`` and a power
cut. All writes are one transaction each, begun with ``BEGIN IMMEDIATE``: what reads and then writes sees no other
writer between. An answer stands in the row of its claim, so that neither can outlive the other.
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.study.errors import BusyError, FullDiskError, StudyError

VERSION = 2  # raise it when the tables change
SCHEMA = """
CREATE TABLE IF NOT EXISTS study (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS assessor (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('assessor', 'admin')),
    token_hash TEXT NOT NULL UNIQUE,
    expires REAL NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0,
    discarded INTEGER NOT NULL DEFAULT 0,
    extra INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS session (
    hash TEXT PRIMARY KEY,
    assessor INTEGER NOT NULL REFERENCES assessor (id),
    begun REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('study', 'attention', 'training')),
    criterion TEXT NOT NULL,
    prompt TEXT NOT NULL,
    caption TEXT NOT NULL,
    image INTEGER NOT NULL,
    first TEXT NOT NULL,
    second TEXT NOT NULL,
    first_image TEXT NOT NULL,
    second_image TEXT NOT NULL,
    answer TEXT NOT NULL DEFAULT '',
    why TEXT NOT NULL DEFAULT '',
    rank INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS task_criterion ON task (criterion, kind, rank);
CREATE TABLE IF NOT EXISTS assignment (
    task INTEGER NOT NULL REFERENCES task (id),
    assessor INTEGER NOT NULL REFERENCES assessor (id),
    token TEXT NOT NULL UNIQUE,
    left_token TEXT NOT NULL UNIQUE,
    right_token TEXT NOT NULL UNIQUE,
    flipped INTEGER NOT NULL,
    shown REAL NOT NULL,
    expires REAL NOT NULL,
    choice TEXT CHECK (choice IN ('left', 'tie', 'right')),
    parts TEXT NOT NULL DEFAULT '{}',
    seconds REAL,
    answered REAL,
    revision INTEGER NOT NULL DEFAULT 0,
    number INTEGER,
    PRIMARY KEY (task, assessor)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS assignment_assessor ON assignment (assessor, number);
"""
WAIT_SECONDS = 10.0  # for another process that writes
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT}

Row = sqlite3.Row


class Database:
    """One connection, which the threads of a process share by a lock.

    Args:
        path: file; made where it is not there.

    Raises:
        StudyError: it cannot be opened, or is of another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            weakref.finalize(self, self._connection.close)
            self._connection.row_factory = sqlite3.Row
            self._prepare(path)
        except sqlite3.Error as error:
            raise StudyError(f"cannot open the database {path}: {error}") from error

    def _prepare(self, path: Path) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise StudyError(f"{path} is of version {version}; expected {VERSION}")
        if version == 0:
            self._connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on the disk when it ends.

        Raises:
            FullDiskError: nothing could be written; nothing was changed.
            BusyError: another process held the database all the time; nothing was changed.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.DatabaseError as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte of an extended code
                if code in _FULL:
                    raise FullDiskError from error
                if code == sqlite3.SQLITE_BUSY:
                    raise BusyError from error
                raise

    def rows(self, query: str, *values: Any) -> list[Row]:
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> Row | None:
        """The first row of a query."""
        found = self.rows(query, *values)
        return found[0] if found else None

    def value(self, query: str, *values: Any) -> Any:
        """The first value of the first row of a query."""
        found = self.row(query, *values)
        return None if found is None else found[0]

    def write(self, statement: str, *values: Any) -> int:
        """Carry out a statement within a transaction; returns how many rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()
