"""What was typed, before anything looks at it: no empty words, links that end, and ~ for the home folder."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from repro.harness.kind import UsageError


def check_words(words: Sequence[str]) -> None:
    """Refuse an empty word: for a path it would mean the current folder, for a name that none was given.

    Raises:
        UsageError: names the option before it.
    """
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not word.strip() or (name.startswith("--") and equals and not value.strip()):
            options = [before.partition("=")[0] for before in words[: place + 1] if before.startswith("--")]
            where = f" after {options[-1]}" if options else ""
            raise UsageError(f"an argument{where} is empty: leave the option out, or give it a value")


def check_paths(typed: Namespace) -> None:
    """Expand ~ in all paths that were typed, where the shell did not (as in ``--out=~/results``), and refuse bad ones.

    Raises:
        UsageError: a link to itself, a name that is too long, a home folder of nobody, or a path through a file.
    """
    for name, value in vars(typed).items():
        if isinstance(value, Path):
            setattr(typed, name, _checked(name, value))
        elif isinstance(value, list) and any(isinstance(part, Path) for part in value):
            setattr(typed, name, [_checked(name, part) for part in value])


def _checked(name: str, path: Path) -> Path:
    try:
        found = path.expanduser()
        found.resolve()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:
        option, reason = name.replace("_", "-"), getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{option} {str(path)[:80]!r} is no path that can be used: {reason}") from error
    return found
