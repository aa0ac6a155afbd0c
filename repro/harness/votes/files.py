"""Votes in files, read strictly: JSONL and CSV with the fields of a vote, and the export of Label Studio."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn, cast

from repro.harness.files import input_file, write_atomic
from repro.harness.schema import RecordError
from repro.harness.votes.vote import Vote

NAMES = tuple(field.name for field in fields(Vote))
OPTIONAL = frozenset({"expected"})
NUMBERS: Mapping[str, type] = {"image": int, "seconds": float}
NEWLINE = "\n"
Placed = tuple[int, Mapping[str, Any]]


class VoteError(RecordError):
    """Votes that cannot be read or analysed; the message starts with ``file:line`` where there is one."""


def read(path: Path) -> tuple[Vote, ...]:
    """The votes of a file, by its ending: ``.jsonl``, ``.csv``, or ``.json`` of Label Studio.

    A byte order mark, line ends of other systems and empty lines at the end do no harm.

    Raises:
        VoteError: the file cannot be read, or its first bad line.
    """
    readers: dict[str, Callable[[str, Path], Iterable[tuple[int, Vote]]]] = {".jsonl": _of_jsonl, ".csv": _of_csv}
    if path.suffix == ".json":
        from repro.harness.votes.label_studio import parse  # which reads with what is here

        return parse(text_of(path), path)
    if path.suffix not in readers:
        raise VoteError(f"{path}: votes are read from .jsonl, .csv or Label Studio's .json, not from {path.suffix!r}")
    return unique(readers[path.suffix](text_of(path), path), path)


def write(path: Path, votes: Iterable[Vote]) -> None:
    """Write votes as ``.jsonl`` or ``.csv``, in the order of their identities, so that the same votes give one file.

    Raises:
        VoteError: another ending, or a vote that occurs twice.
        OutputError: the file cannot be written.
    """
    kept = sorted(votes, key=lambda vote: vote.identity)
    unique(enumerate(kept, start=1), path)
    writers = {".jsonl": _as_jsonl, ".csv": _as_csv}
    if path.suffix not in writers:
        raise VoteError(f"{path}: votes are written to .jsonl or .csv, not to {path.suffix!r}")
    write_atomic(path, writers[path.suffix](kept))


def text_of(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        VoteError: it cannot be read, or is not UTF-8.
    """
    try:
        return input_file(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VoteError(f"{path}: cannot read votes: {error}") from error


def unique(found: Iterable[tuple[int, Vote]], path: Path) -> tuple[Vote, ...]:
    """Votes with the lines they stand on, none of them twice.

    Raises:
        VoteError: a vote occurs twice, or there is none.
    """
    seen: dict[tuple[str, ...], int] = {}
    votes = []
    for line, vote in found:
        if seen.setdefault(vote.identity, line) != line:
            raise VoteError(f"{path}:{line}: repeats line {seen[vote.identity]}: {' '.join(vote.identity[1:])}")
        votes.append(vote)
    if not votes:
        raise VoteError(f"{path}: holds no vote")
    return tuple(votes)


def vote_of(data: Mapping[str, Any]) -> Vote:
    """A vote from its fields, as JSON has them.

    Raises:
        ValueError: a field that is unknown, missing or of another type, or no vote.
    """
    if unknown := sorted(set(data) - set(NAMES)):
        raise ValueError(f"unknown field {unknown[0]!r} of a vote; known: {', '.join(NAMES)}")
    if absent := [name for name in NAMES if name not in data and name not in OPTIONAL]:
        raise ValueError(f"a vote without field {absent[0]!r}")
    for name, value in data.items():
        wanted = NUMBERS.get(name, str)
        if isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else wanted):
            raise ValueError(f"field {name!r} of a vote is {value!r:.60}, expected {wanted.__name__}")
    return Vote(**cast("Any", data))


def _of_jsonl(text: str, path: Path) -> Iterator[tuple[int, Vote]]:
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        try:
            data = json.loads(line, parse_constant=_reject)
            if not isinstance(data, dict):
                raise ValueError(f"expected an object, got {data!r:.60}")
            yield number, vote_of(data)
        except json.JSONDecodeError as error:
            raise VoteError(f"{path}:{number}: not JSON ({error.msg})") from None
        except RecursionError:
            raise VoteError(f"{path}:{number}: not JSON of a vote (nested too deeply)") from None
        except ValueError as error:
            raise VoteError(f"{path}:{number}: {error}") from None


def _of_csv(text: str, path: Path) -> Iterator[tuple[int, Vote]]:
    for number, row in _rows(text, path):
        try:
            yield number, vote_of({name: _typed(name, value) for name, value in row.items()})
        except ValueError as error:
            raise VoteError(f"{path}:{number}: {error}") from None


def _rows(text: str, path: Path) -> Iterator[Placed]:
    """Rows of a CSV with the numbers of their last lines; each has as many cells as the header."""
    reader = csv.reader(io.StringIO(text.rstrip(), newline=""), strict=True)
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise VoteError(f"{path}:1: a column occurs twice in {', '.join(header)}")
        for cells in reader:
            if len(cells) != len(header):
                raise VoteError(f"{path}:{reader.line_num}: {len(cells)} cells under {len(header)} columns")
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise VoteError(f"{path}:{reader.line_num}: not CSV ({error})") from None


def _typed(name: str, value: str) -> object:
    try:
        return NUMBERS.get(name, str)(value)
    except ValueError:
        raise ValueError(f"field {name!r} of a vote is {value!r:.60}, expected {NUMBERS[name].__name__}") from None


def _as_jsonl(votes: Iterable[Vote]) -> str:
    return "".join(json.dumps(asdict(vote), allow_nan=False) + NEWLINE for vote in votes)


def _as_csv(votes: Iterable[Vote]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, NAMES, lineterminator=NEWLINE)
    writer.writeheader()
    writer.writerows(asdict(vote) for vote in votes)
    return stream.getvalue()


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
