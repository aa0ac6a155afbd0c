"""Arguments as callers write them: numbers of Python, numpy and torch are taken, and nothing is bent until it fits.

The checks know numpy and torch by their dtypes alone, so that declarations, which import neither, can use them.
"""

import math
import operator
from collections.abc import Collection, Iterable
from typing import Any

_NUMBERS = ("int", "uint", "float", "bfloat")  # how the names of the dtypes of real numbers begin
_LONGEST = 80


def shown(value: Any) -> str:
    """A value in one line of at most 80 characters."""
    try:
        text = " ".join(repr(value).split()).encode("ascii", "backslashreplace").decode()
    except ValueError:  # more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def typed(value: Any) -> str:
    """A value as `shown`, with its type."""
    return f"{shown(value)} ({type(value).__name__})"


def whole(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """A whole number with ``low <= value <= high``, of Python, numpy or torch; bools are none.

    Raises:
        TypeError: something else.
        ValueError: out of range.
    """
    number = as_whole(value)
    if number is None:
        raise TypeError(f"{name} must be a whole number, got {typed(value)}")
    if (low is not None and number < low) or (high is not None and number > high):
        span = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {span}, got {shown(number)}")
    return number


def as_whole(value: Any) -> int | None:
    """The whole number that a value is, or None."""
    if _is_bool(value) or getattr(value, "ndim", 0) != 0:
        return None
    try:
        return operator.index(value)
    except (TypeError, RuntimeError):
        return None


def real(name: str, value: Any, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number with ``above < value`` and ``least <= value <= most``; strings and bools are none.

    Raises:
        TypeError: no number of Python, numpy or torch.
        ValueError: infinite, NaN, or out of range.
    """
    if not is_real(value):
        raise TypeError(f"{name} must be a number, got {typed(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (above < number < math.inf and least <= number <= most) or number == -math.inf:  # NaN too
        raise ValueError(f"{name} must be {_span(above, least, most)}, got {shown(value)}")
    return number


def _span(above: float, least: float, most: float) -> str:
    if least > -math.inf and most < math.inf:
        return f"above {above:g} and at most {most:g}" if above >= least else f"from {least:g} to {most:g}"
    if above == 0:
        return "finite and positive"
    return "finite" + (f" and at least {least:g}" if least > -math.inf else "")


def is_real(value: Any) -> bool:
    """Whether a value is one real number, finite or not."""
    if isinstance(value, bool | str):
        return False
    if isinstance(value, int | float):  # before anything is asked for a dtype: torch.compile traces no such question
        return True
    if _is_bool(value):
        return False
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    return getattr(value, "ndim", None) == 0 and dtype.startswith(_NUMBERS)


def several(name: str, values: Any) -> list[Any]:
    """The members of a list, a tuple, a range, an array or a tensor of one axis.

    Raises:
        TypeError: a single value, a string, a mapping, or what has no order.
    """
    single = getattr(values, "ndim", 1) != 1
    if single or isinstance(values, str | bytes | dict | set | frozenset) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list, got {typed(values)}")
    return list(values)


def size_of(name: str, value: Any, least: int | None = 1, most: int = 2**16) -> tuple[int, int]:
    """Height and width.

    Raises:
        TypeError: no whole numbers.
        ValueError: not two, or a side below ``least`` or above ``most``.
    """
    sides = several(name, value)
    if len(sides) != 2:
        raise ValueError(f"{name} must be height and width, got {shown(value)}")
    return whole(name, sides[0], least, most), whole(name, sides[1], least, most)


def one_of(name: str, value: Any, choices: Collection[str]) -> str:
    """A text that is one of some.

    Raises:
        TypeError: no text.
        ValueError: another one.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(choices)}, got {typed(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False of Python or numpy.

    Raises:
        TypeError: something else, 0 and 1 among it.
    """
    if not _is_bool(value) or getattr(value, "ndim", 0) != 0:
        raise TypeError(f"{name} must be True or False, got {typed(value)}")
    return bool(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
