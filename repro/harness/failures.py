"""What the machine refuses, in words: files, memory, text. One place for every command."""

from pathlib import Path

from repro.harness.files import FULL

MACHINE = (OSError, MemoryError, UnicodeError)  # not faults of the code


def in_words(error: BaseException, work: Path | None = None) -> str:
    """One line that says what to do.

    Args:
        error: one of ``MACHINE``, or of a library that wraps one.
        work: folder where finished stages stay; None where there are none.
    """
    kept = f"; finished stages stay in {work}" if work is not None else ""
    if getattr(error, "errno", None) in FULL or "No space left" in str(error):
        place = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"the disk is full{place}{kept}: free some space and run this again"
    if isinstance(error, MemoryError):
        return f"memory is full{kept}: free some, or ask for less at once, and run this again"
    if isinstance(error, UnicodeError):
        return f"text that cannot be read or written: {_line(error)}"
    if isinstance(error, OSError) and error.strerror:
        return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror}{kept}"
    return f"{_line(error)}{kept}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
