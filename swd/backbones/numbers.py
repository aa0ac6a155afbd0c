"""Numbers as callers write them: Python's, numpy's and torch's are taken, and nothing is bent until it fits."""

import math
import operator
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

SEEDS = 2**63  # those of more than 32 bits are hashed where noise is drawn: torch's CPU generator keeps 32
MOST_GUIDANCE = 1000.0  # far above any that draws an image: what is beyond ends in NaN


def shown(value: Any) -> str:
    """A value in one line of at most 80 characters."""
    try:
        text = " ".join(repr(value).split()).encode("ascii", "backslashreplace").decode()
    except ValueError:  # more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def typed(value: Any) -> str:
    """A value as `shown`, with its type."""
    return f"{shown(value)} ({type(value).__name__})"


def truth(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        TypeError: something else, however true it is.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {typed(value)}")
    return bool(value)


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number with ``low <= value < high``.

    Raises:
        TypeError: something else than an integer of Python, numpy or torch; bools are none.
        ValueError: out of range.
    """
    try:
        number = None if _is_bool(value) else operator.index(value)
    except (TypeError, RuntimeError):
        number = None
    if number is None:
        raise TypeError(f"{name} must be a whole number, got {typed(value)}")
    if not low <= number < high:
        raise ValueError(f"{name} must be from {low} to {high - 1}, got {shown(number)}")
    return number


def real(name: str, value: Any) -> float:
    """A finite number.

    Raises:
        TypeError: something else than a number of Python, numpy or torch; strings and bools are none.
        ValueError: infinite or NaN.
    """
    single = isinstance(value, int | float | np.number) or (isinstance(value, Tensor | np.ndarray) and value.ndim == 0)
    if _is_bool(value) or not single:
        raise TypeError(f"{name} must be a number, got {typed(value)}")
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} must be a real number, got {typed(value)}") from error
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def several(name: str, values: Any) -> list[Any]:
    """The members of a list, a tuple, an array or a 1-d tensor.

    Raises:
        TypeError: a single value, a string, a mapping, or a set, which has no order.
    """
    single = isinstance(values, Tensor | np.ndarray) and values.ndim != 1
    if single or isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of numbers, got {typed(values)}")
    return list(values)


def pair(name: str, value: Any, low: int) -> tuple[int, int]:
    """Two whole numbers of at least ``low`` and less than a million.

    Raises:
        TypeError: something else.
        ValueError: out of range, or another number of them.
    """
    found = [whole(name, one, low, 10**6) for one in several(name, value)]
    if len(found) != 2:
        raise ValueError(f"{name} must be two whole numbers, got {shown(value)}")
    return found[0], found[1]


def floats(name: str, value: Any) -> Tensor:
    """A dense tensor of floating-point numbers that holds some; whether they are finite is not looked at.

    Raises:
        TypeError: something else.
        ValueError: an empty one, or one on the meta device.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {typed(value)}")
    if not value.is_floating_point() or value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor of floating-point numbers, got {value.dtype}, {value.layout}")
    if value.is_meta or not value.numel():
        raise ValueError(f"{name} holds no numbers, got shape {tuple(value.shape)} on {value.device}")
    return value


def guidance(name: str, value: Any) -> float:
    """A guidance scale, from 0 to 1000: beyond, images overflow to NaN.

    Raises:
        TypeError: no number.
        ValueError: out of range.
    """
    scale = real(name, value)
    if not 0 <= scale <= MOST_GUIDANCE:
        raise ValueError(f"{name} must be from 0 to {MOST_GUIDANCE:g}, got {scale:g}")
    return scale


def adapter_scale(name: str, value: Any) -> float | None:
    """The number under "scale" of a network's keyword arguments, None where there is none.

    Raises:
        TypeError: no mapping, or no number.
        ValueError: infinite or NaN.
    """
    if not isinstance(value, Mapping | None):
        raise TypeError(f"{name} must be a mapping of names, got {typed(value)}")
    scale = None if value is None else value.get("scale")
    return None if scale is None else real(f"{name}['scale']", scale)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
