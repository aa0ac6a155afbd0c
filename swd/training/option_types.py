"""Values of a study file, and of callers, against the types of the options that they fill."""

from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from swd.values import as_whole, flag, is_real, several

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path, as text"}


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value of TOML fits a type: bool, int, float, str, Path, Literal, tuple, or one of several."""
    parts = get_args(kind)
    match get_origin(kind):
        case origin if origin in (Union, UnionType):
            return any(is_a(value, part) for part in parts)
        case origin if origin is Literal:
            return value in parts
        case origin if origin is tuple:
            if not isinstance(value, list):
                return False
            kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
            return len(kinds) == len(value) and all(map(is_a, value, kinds))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, str)
    return type(value) is kind


def plain(value: Any, kind: Any) -> Any:
    """A value of Python, numpy or torch as Python's own, where it is of a type; nothing is bent until it fits.

    A list becomes a tuple. Python's integers stay what they are where a number is wanted, which changes no file.

    Raises:
        TypeError: it is of another type.
        OverflowError: a number that no float holds.
    """
    parts, origin = get_args(kind), get_origin(kind)
    if origin in (Union, UnionType):
        return _any_of(value, parts)
    if origin is tuple:
        members = several("", value)
        kinds = [parts[0]] * len(members) if parts[-1] is Ellipsis else parts
        if len(kinds) != len(members):
            raise TypeError(f"expected {len(kinds)} values")
        return tuple(map(plain, members, kinds))
    if kind is bool:
        return flag("", value)
    if kind is int and (number := as_whole(value)) is not None:
        return number
    if kind is float and is_real(value):
        real = float(value)
        return value if type(value) is int else real
    if (kind is str or origin is Literal) and isinstance(value, str):
        return str(value)
    if kind is type(None) and value is None:
        return None
    raise TypeError(f"expected {in_words(kind)}")


def _any_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    for kind in kinds:
        with suppress(TypeError):
            return plain(value, kind)
    raise TypeError(f"expected one of {len(kinds)} types")


def in_words(kind: Any) -> str:
    """What a type asks for."""
    parts = [part for part in get_args(kind) if part not in (type(None), Ellipsis)]
    origin = get_origin(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        count = "" if Ellipsis in get_args(kind) else f"{len(parts)} "
        return f"a list of {count}values, each {in_words(parts[0])}"
    return " or ".join(map(in_words, parts)) if parts else _WORDS.get(kind, str(kind))
