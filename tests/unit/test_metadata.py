"""Captions as the world has them: what is read, and what is refused with file and line."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swd.data.metadata import NAME, read_metadata
from swd.errors import CacheError

VALUES = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists)


def line(text: object = "a red star", name: object = "1.png") -> str:
    return json.dumps({"file_name": name, "text": text})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1.png").write_bytes(b"12345")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "2.png").write_bytes(b"1")
    return tmp_path


@pytest.mark.parametrize(
    "data",
    [
        line().encode(),
        b"\xef\xbb\xbf" + line().encode() + b"\n",
        line().encode() + b"\r\n\r\n\n",
        b'{"text": "a red star", "file_name": "1.png", "extra": null}',
    ],
)
def test_marks_ends_of_lines_and_empty_lines_are_fine(data: bytes, folder: Path) -> None:
    (folder / NAME).write_bytes(data)
    assert read_metadata(folder) == [("1.png", "a red star", 1)]


def test_a_caption_may_hold_any_character_and_a_file_lie_deeper(folder: Path) -> None:
    caption = "a\u2028b\x0b\U0001f600 \u00e9"
    (folder / NAME).write_text(line(caption, "deeper/2.png") + "\n" + line(" "), encoding="utf-8")
    assert read_metadata(folder) == [("deeper/2.png", caption, 1), ("1.png", " ", 2)]


@pytest.mark.parametrize("value", [None, float("nan"), 3, True, ["a"], {"a": 1}])
@pytest.mark.parametrize("key", ["text", "file_name"])
def test_what_is_no_text_is_refused(value: object, key: str, folder: Path) -> None:
    bad = line(value) if key == "text" else line(name=value)
    (folder / NAME).write_text(f"{line()}\n{bad}\n")
    with pytest.raises(CacheError, match=rf"{NAME}, line 2: {key} must be text, got "):
        read_metadata(folder)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"file_name": "1.png", "caption": "a"}', "line 1: no key 'text'; found 'file_name', 'caption'"),
        (b"\n \r\n", "is empty: it names images"),
        (b"{}", "no key 'file_name'; found none"),
        (b"[1]", r"line 1: \[1\] is no object with file_name and text"),
        (b"{", "line 1: not JSON: Expecting property name"),
        (b"[" * 100_000, "line 1: not JSON"),
        (b'{"text": "caf\xe9"}', "line 1: not UTF-8: byte 0xe9 at place 14"),
        (line().encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (b'{"file_name": "1.png", "text": "\\ud83d"}', "half a character"),
        (line(name="../1.png").encode(), "'../1.png' leaves the folder"),
        (line(name="/etc/hostname").encode(), "leaves the folder"),
        (line(name="deeper").encode(), "there is no file"),
        (line(name="gone.png").encode(), "there is no file .*gone.png"),
        (line(name="a\0b").encode(), "leaves the folder"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(data: bytes, message: str, folder: Path) -> None:
    (folder / NAME).write_bytes(data)
    with pytest.raises(CacheError, match=message):
        read_metadata(folder)


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / NAME).write_text(line(name="pipe.png"))
    with pytest.raises(CacheError, match=r"there is no file .*pipe\.png"):
        read_metadata(folder)
    (folder / NAME).unlink()
    os.mkfifo(folder / NAME)
    with pytest.raises(CacheError, match="is missing"):
        read_metadata(folder)


def test_a_file_that_is_named_twice_is_told_of(folder: Path) -> None:
    (folder / NAME).write_text(f"{line()}\n{line('another', './1.png')}\n")
    with pytest.warns(UserWarning, match=r"line 2: \./1.png stands in line 1 too"):
        assert len(read_metadata(folder)) == 2


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused_in_our_words(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / NAME).write_bytes(data)
        try:
            read_metadata(Path(name))
        except CacheError:
            return
        pytest.fail("no file is there")
