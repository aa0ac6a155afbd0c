"""Values of a study file against the types of the options that they fill."""

from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

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
