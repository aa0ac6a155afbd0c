"""``metadata.jsonl``: which image file has which caption, one JSON object a line with ``file_name`` and ``text``.

{"file_name": "0001.png", "text": "a red star"}
"""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from swd.errors import CacheError

NAME = "metadata.jsonl"
KEYS = ("file_name", "text")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Caption(NamedTuple):
    """One line: an image file, relative to the folder, with its caption and the number of the line, from 1."""

    file_name: str
    text: str
    line: int


def read_metadata(folder: Path) -> list[Caption]:
    """Every image of a folder with its caption.

    A byte-order mark, ends of lines of any system and empty lines are fine. A file that is named twice is told of.

    Raises:
        CacheError: no metadata, or a line that is not UTF-8, no object with the two texts, or names a file outside the
            folder or none; the message names the line.
    """
    path, found, seen = folder / NAME, list[Caption](), dict[str, int]()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            caption = Caption(*_record(line), number)
            _check_file(folder, caption.file_name)
        except ValueError as error:
            raise CacheError(f"{path}, line {number}: {error}") from None
        if (first := seen.setdefault(str(Path(caption.file_name)), number)) != number:
            warnings.warn(f"{path}, line {number}: {caption.file_name} stands in line {first} too", stacklevel=2)
        found.append(caption)
    if not found:
        raise CacheError(f"{path} is empty: it names images and captions, one JSON object a line")
    return found


def _lines(path: Path) -> list[bytes]:
    """Split at line feeds alone: str.splitlines also ends a line at U+2028, which a caption may hold."""
    if not path.is_file():
        raise CacheError(f"{path} is missing: it names images and captions, one JSON object a line")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CacheError(f"cannot read {path}: {error.strerror or error}") from error
    if data.startswith(_UTF16):
        raise CacheError(f"{path} is UTF-16: save it as UTF-8")
    return data.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def _record(line: bytes) -> tuple[str, str]:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte 0x{line[error.start]:02x} at place {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at place {error.colno}") from None
    except RecursionError:
        raise ValueError("not JSON that a caption needs: nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError(f"{_shown(record)} is no object with {' and '.join(KEYS)}")
    if missing := [key for key in KEYS if key not in record]:
        raise ValueError(f"no key {missing[0]!r}; found {', '.join(map(repr, record)) or 'none'}")
    for key in KEYS:
        if not isinstance(record[key], str):
            raise ValueError(f"{key} must be text, got {_shown(record[key])}")
        if any("\ud800" <= letter <= "\udfff" for letter in record[key]):
            raise ValueError(f"{key} holds half a character (a lone surrogate): {_shown(record[key])}")
    return record["file_name"], record["text"]


def _check_file(folder: Path, name: str) -> None:
    place = folder / name
    if "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"file_name {name!r} leaves the folder: expected a path inside it, where a link may lie")
    try:
        there = place.is_file()  # a pipe would be waited for
    except OSError as error:  # a name that is too long, a link to itself
        raise ValueError(f"file_name {name[:80]!r}: {error.strerror or error}") from None
    if not there:
        raise ValueError(f"there is no file {place}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
