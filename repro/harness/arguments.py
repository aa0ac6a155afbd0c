"""What options of the command line take: read at once, and refused in words before anything is imported or done."""

import math
import re
from argparse import ArgumentTypeError
from pathlib import Path

MOST = 10_000_000  # of anything that is counted
SHOWN = 80  # letters of a value in a message
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?")


def path(text: str) -> Path:
    """A file or folder; ``~`` is the home folder."""
    if not text.strip() or "\0" in text:
        raise ArgumentTypeError(f"expected a path, got {text[:SHOWN]!r}")
    try:
        found = Path(text).expanduser()
    except RuntimeError as error:
        raise ArgumentTypeError(f"expected a path, got {text[:SHOWN]!r}: {error}") from None
    if _is_pipe(found):
        raise ArgumentTypeError(f"expected a file or folder, got {text[:SHOWN]!r}, which is a pipe")
    return found


def _is_pipe(found: Path) -> bool:
    try:
        return found.is_fifo() or found.is_socket()
    except OSError:  # a name that is too long, or where nobody may look: whoever opens it says so
        return False


def place(text: str) -> str:
    """A file, folder or name on the Hub, as it was typed."""
    if not text.strip() or "\0" in text:
        raise ArgumentTypeError(f"expected a path or a name on the Hub, got {text[:SHOWN]!r}")
    return text


def whole(text: str) -> int:
    """A whole number, of a size that can be counted to."""
    value = seed(text)
    if abs(value) > MOST:
        raise ArgumentTypeError(f"expected at most {MOST:,}, got {text[:SHOWN]}")
    return value


def seed(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number, got {text[:SHOWN]!r}") from None


def finite(text: str) -> float:
    """A number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"expected a finite number, got {text[:SHOWN]!r}")
    return value


def device(text: str) -> str:
    """Where networks run; whether it is there is known later, by torch."""
    if not DEVICE.fullmatch(text):
        raise ArgumentTypeError(f"expected auto, cpu, cuda or cuda:N, got {text[:SHOWN]!r}")
    return text
