"""Command lines as data: words for every option that a parser has, and what a run of them may end in."""

import argparse
import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

INTS = ("-1", "0", "1", "2", "3", "4", "16", "1000000", str(2**31), str(2**63), str(2**64), "9" * 30)
FLOATS = ("0.5", "1.0", "1e-3", "-0.5", "nan", "inf", "-inf", "1e999", "1e-999", "0.0")
TEXTS = ("", " ", "mini", "table2", "abc", "a=b", "a=", "=b", "=", "None", "true", "a star", "x" * 300, "\udcff")
BAD = ("", "abc", "1.5", "1e3", "nan", "0x10", "\u0663", "1_0", "9" * 5000, "--", "-", "[1]")
PATHS = ("{place}/folder", "{place}/file.txt", "{place}/pipe", "{place}/missing/deep", "{place}/file.txt/below", "~")
PATHS = (*PATHS, "{place}/" + "x" * 300, "{place}/\udcff", "{place}/loop", "", "{place}/\u2603", "{place}/a b")


# of options without which nothing else is looked at: what is there
GOOD = {"study": "{place}/good/STUDY.toml", "votes": "{place}/good/STUDY.toml", "results": "{place}/good"}


class Reached(BaseException):
    """What stands in place of the work: with what it would have been done. No handler of errors stops it."""

    def __init__(self, *what: Any) -> None:
        self.what = what
        super().__init__()


def reaching(*what: Any, **options: Any) -> None:
    """In place of a function that works."""
    raise Reached(*what, *options.values())


@dataclass(frozen=True)
class Ended:
    """What a command ended in: a status, or the work that it came to."""

    status: int
    reached: tuple[Any, ...]
    out: str
    err: str


def run(main: Callable[[Sequence[str]], int | None], words: Sequence[str]) -> Ended:
    """Run a command in this process; nothing but an exit and `Reached` may leave it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status, reached = main(list(words)) or 0, ()
        except Reached as found:
            status, reached = 0, found.what
        except SystemExit as left:
            status, reached = _status(left.code, err), ()
    return Ended(status, reached, out.getvalue(), err.getvalue())


def _status(code: Any, err: io.StringIO) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    err.write(f"{code}\n")  # as Python does it
    return 1


def check_end(ended: Ended) -> None:
    """Assert that a failure says so in one line, after the usage that a parser prints, or a stale page in its own."""
    assert ended.status in (0, 1, 2), ended
    assert "Traceback" not in ended.out + ended.err, ended
    if ended.status == 0:
        return
    said = ended.err.strip()
    assert said, ended
    if "For full helptext" in said:  # tyro's frame, which names the option
        return
    last = said.splitlines()[-1]
    assert last.startswith("stale: ") or len(last.partition("error: ")[2]) > 10, ended.err
    assert not said.startswith("error:") or len(said.splitlines()) == 1, ended.err


def places(root: Path) -> Path:
    """What a path may name: a folder, a file, a pipe, a link to itself, and much that is not there."""
    place = root / "place"
    (place / "folder").mkdir(parents=True)
    (place / "file.txt").write_text("a red star\n")
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to(place / "loop")
    return place


@st.composite
def words_of(draw: st.DrawFn, parser: argparse.ArgumentParser, place: Path, *, without: Sequence[str]) -> list[str]:
    """Words for the positional arguments and up to four options of a parser."""
    actions = [action for action in parser._actions if action.dest not in (*without, "help")]
    asked = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings]
    asked += [action for action in options if action.required]
    if options:
        asked += draw(st.lists(st.sampled_from(options), max_size=4))
    words: list[str] = []
    for action in asked:
        given = draw(_values(action, place))
        words += [draw(st.sampled_from(action.option_strings)), *given] if action.option_strings else given
    return words


def _values(action: argparse.Action, place: Path) -> st.SearchStrategy[list[str]]:
    if action.nargs == 0:
        return st.just([])
    one = _word(action, place)
    if action.nargs in (None, 1):
        return one.map(lambda word: [word])
    return st.lists(one, min_size=0 if action.nargs in ("*", "?") else 1, max_size=1 if action.nargs == "?" else 3)


def _word(action: argparse.Action, place: Path) -> st.SearchStrategy[str]:
    paths = st.sampled_from([path.replace("{place}", str(place)) for path in PATHS])
    texts = (st.sampled_from(TEXTS), paths, paths.map(lambda path: f"teacher={path}"), st.text("ab=/. -", max_size=6))
    kinds: dict[str, st.SearchStrategy[str]] = {
        **dict.fromkeys(("int", "whole", "seed"), st.sampled_from(INTS)),
        **dict.fromkeys(("float", "finite"), st.sampled_from((*INTS, *FLOATS))),
        **dict.fromkeys(("Path", "path", "place"), paths),
    }
    mostly = kinds.get(getattr(action.type, "__name__", ""), st.one_of(*texts))
    if action.dest in GOOD:
        good = st.just(GOOD[action.dest].replace("{place}", str(place)))
        mostly = st.one_of(good, good, good, mostly)
    if action.choices is not None:
        mostly = st.sampled_from([str(choice) for choice in action.choices])
    return st.one_of(mostly, mostly, mostly, mostly, st.sampled_from(BAD))


def leaves(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every named value in dataclasses, mappings and lists of them."""
    yield name, values
    if is_dataclass(values) and not isinstance(values, type):
        for field in fields(values):
            yield from leaves(getattr(values, field.name), field.name)
    elif isinstance(values, argparse.Namespace):
        yield from leaves(vars(values))
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from leaves(value, str(key))
    elif isinstance(values, list | tuple | set | frozenset):
        for value in values:
            yield from leaves(value, name)


def arrived(name: str, value: Any, reached: Any) -> bool:
    """Whether what was written stands under its name in what would have been worked with."""
    wanted = {repr(_plain(value))}
    if isinstance(value, list):
        wanted |= {repr(_plain(tuple(value))), repr(_plain(tuple(dict.fromkeys(value))))}
        wanted |= {repr(_plain(value[0]))} if len(value) == 1 else set()
    if isinstance(value, str | Path):
        with contextlib.suppress(OSError, RuntimeError):  # a text that is no path
            wanted |= {repr(str(Path(value).expanduser())), repr(str(Path(value).expanduser().resolve()))}
    return any(found == name and repr(_plain(leaf)) in wanted for found, leaf in leaves(reached))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value


def below(folder: Path) -> set[str]:
    """Everything that lies in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
