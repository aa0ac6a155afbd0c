"""What was typed, before anything looks at it: as `swd.command_words` has it."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from repro.harness.kind import UsageError
from swd import command_words as library
from swd.errors import ConfigError

# options that take a path, or a name on the Hub, or NAME=PATH
PATHS_AS_TEXT = ("pipeline", "data", "scorer", "prompts", "adapters", "images", "systems")


def check_words(words: Sequence[str]) -> None:
    """Refuse an empty word.

    Raises:
        UsageError: names the option before it.
    """
    try:
        library.check_words(words)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def check_paths(typed: Namespace) -> None:
    """Expand ~ in all paths that were typed, and refuse bad ones.

    Raises:
        UsageError: a link to itself, a name that is too long, or a home folder of nobody.
    """
    for name in PATHS_AS_TEXT:
        given = getattr(typed, name, None)
        if isinstance(given, str):
            setattr(typed, name, _usable_text(name, given))
        elif isinstance(given, list):
            setattr(typed, name, [_usable_text(name, word) if isinstance(word, str) else word for word in given])
    for name, value in vars(typed).items():
        if isinstance(value, Path):
            setattr(typed, name, _usable(name, value))
        elif isinstance(value, list) and any(isinstance(part, Path) for part in value):
            setattr(typed, name, [_usable(name, part) for part in value])


def _usable_text(name: str, text: str) -> str:
    """A path, or NAME=PATH; what is no path stays as it is."""
    key, equals, place = text.partition("=")
    if not equals or text.startswith("~"):
        key, equals, place = "", "", text
    found = _usable(name, Path(place))
    return f"{key}{equals}{found}" if place.startswith("~") else text


def _usable(name: str, path: Path) -> Path:
    try:
        return library.usable_path(name, path)
    except ConfigError as error:
        raise UsageError(str(error)) from error
