"""Numbers as callers write them: Python's, numpy's and torch's are taken, and nothing is bent until it fits."""

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

SEEDS = 2**63  # those of more than 32 bits are hashed where noise is drawn: torch's CPU generator keeps 32
MOST_GUIDANCE = 1000.0  # far above any that draws an image: what is beyond ends in NaN


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
        raise TypeError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})")
    if not low <= number < high:
        raise ValueError(f"{name} must be from {low} to {high - 1}, got {number}")
    return number


def real(name: str, value: Any) -> float:
    """A finite number.

    Raises:
        TypeError: something else than a number of Python, numpy or torch; strings and bools are none.
        ValueError: infinite or NaN.
    """
    single = isinstance(value, int | float | np.number) or (isinstance(value, Tensor | np.ndarray) and value.ndim == 0)
    if _is_bool(value) or not single:
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} must be a real number, got {value!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def several(name: str, values: Any) -> list[Any]:
    """The members of a list, a tuple, an array or a 1-d tensor.

    Raises:
        TypeError: a single value, a string or a mapping.
    """
    single = isinstance(values, Tensor | np.ndarray) and values.ndim != 1
    if single or isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of numbers, got {values!r} ({type(values).__name__})")
    return list(values)


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
        raise TypeError(f"{name} must be a mapping of names, got {value!r} ({type(value).__name__})")
    scale = None if value is None else value.get("scale")
    return None if scale is None else real(f"{name}['scale']", scale)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
