"""What was typed, before anything looks at it: no empty words, links that end, and ~ for the home folder."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from swd.errors import ConfigError

T = TypeVar("T")
NAMES = ("adapter", "pipeline", "student")  # options that take a path or a name on the Hub


def check_words(words: Sequence[str]) -> None:
    """Refuse an empty word: for a path it would mean the current folder, for a name that none was given.

    Raises:
        ConfigError: names the option before it.
    """
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not word.strip() or (name.startswith("--") and equals and not value.strip()):
            options = [before.partition("=")[0] for before in words[: place + 1] if before.startswith("--")]
            where = f" after {options[-1]}" if options else ""
            raise ConfigError(f"an argument{where} is empty: leave the option out, or give it a value")


def usable_path(name: str, path: Path) -> Path:
    """A path with ~ as the home folder, where the shell left it (as in ``--output=~/runs``).

    Raises:
        ConfigError: a link to itself, a name that is too long, or a home folder of nobody.
    """
    try:
        found = path.expanduser()
        found.resolve()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:
        option, reason = name.replace("_", "-"), getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{option} {str(path)[:80]!r} is no path that can be used: {reason}") from error
    return found


def with_usable_paths(command: T) -> T:
    """A command, a dataclass, with all its paths as `usable_path` has them, and names that may be paths likewise.

    Raises:
        ConfigError: as there.
    """
    options: Any = command
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    changed: dict[str, Any] = {name: usable_path(name, path) for name, path in given.items() if isinstance(path, Path)}
    named = {name: given[name] for name in NAMES if given.get(name) is not None}
    for name, text in named.items():
        found = usable_path(name, Path(text))
        changed[name] = str(found) if text.startswith("~") else text
    return replace(options, **changed)  # type: ignore[no-any-return]
