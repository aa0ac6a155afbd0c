"""Entry points as data: what each argument may be, and what it means that a value was taken as it was written."""

import math
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import repro
import swd
from swd.errors import USER_ERRORS
from swd.values import as_whole, is_real

OURS = tuple(Path(str(module.__file__)).parent for module in (swd, repro))
REFUSALS = (TypeError, ValueError, OSError, *USER_ERRORS)
FACTOR = int(os.environ.get("SWD_FUZZ", "1"))  # so many times the examples of a usual run


def examples(count: int) -> settings:
    """How many examples a search tries: the same ones every time, unless more are asked for."""
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class May:
    """What an argument may be: values that have to be taken, and those that must not be."""

    good: st.SearchStrategy[Any]
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Entry:
    """One public function.

    Args:
        name: dotted.
        call: with keyword arguments.
        arguments: each with what it may be.
        same: asserts that a result is what its arguments mean.
        words: that stand for an argument in messages, where it is not its own name.
        together: whether good arguments may contradict each other, so that a refusal in our words is fine.
    """

    name: str
    call: Callable[..., Any]
    arguments: Mapping[str, May]
    same: Callable[[Any, Mapping[str, Any]], None] = lambda result, given: None
    words: tuple[str, ...] = ()
    together: bool = False


HUGE = 10**6000  # more than any number that is drawn
NUMBERS = (-(2**70), -3, -1, 0, 1, 2, 3, 4, 7, 8, 12, 16, 10**9, 2**31, 2**32, 2**63, 2**64, 10**400, 10**5000)
TEXTS = ("", " ", "3", "0.5", "1e3", "nan", "mini-4", "huber", "a star", "\ud800", "\0", "true", "x" * 300, "\u0663")
JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from((0.0, -0.0, 0.5, 1.0, 1.5, -1.0, 16.0, 1e999, -1e999, math.nan, 1e300, 1e-300)),
    st.sampled_from((np.int64(4), np.float32(0.5), np.float64(0.5), np.bool_(True), np.str_("3"), np.uint8(2))),
    st.sampled_from((np.array([4, 8]), np.array(4), np.array("3"), np.array([], float), np.array(True))),
    st.sampled_from((torch.tensor(4), torch.tensor(0.5), torch.tensor(True), torch.tensor([4, 8]), torch.tensor(1j))),
    st.sampled_from((torch.empty(0), torch.ones(2, 3), torch.ones(1, 2, 4, 4), torch.full((2,), math.nan))),
    st.sampled_from((torch.ones(2, 3, dtype=torch.int64), torch.ones(1, 2, 4, 4, dtype=torch.bool))),
    st.sampled_from((Decimal("0.5"), Fraction(1, 2), 1j, b"3", bytearray(b"8"), Path("8"), object(), Ellipsis, print)),
    st.sampled_from(TEXTS),
    st.text(max_size=5),
    st.lists(
        st.one_of(st.sampled_from(NUMBERS), st.floats(), st.booleans(), st.none(), st.text(max_size=2)), max_size=3
    ),
    st.tuples(st.sampled_from((8, 16, 0, -1, 2**40, True, "8", 8.0)), st.sampled_from((8, 16, 8.5, None))),
    st.sets(st.integers(0, 9), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.builds(lambda: (number for number in (8, 16))),
    st.builds(lambda: range(3)),
)


def whole(low: int, high: int, *, good: int | None = None, absent: bool = False) -> May:
    """A whole number of Python, numpy or torch; a few of those that have to be taken are drawn."""
    plain = st.integers(low, min(high, low + 8 if good is None else good))
    kinds = st.one_of(plain, plain.map(np.int64), plain.map(torch.tensor))

    def fits(value: Any) -> bool:
        number = as_whole(value)
        return (absent and value is None) or (number is not None and low <= number <= high)

    return May(st.one_of(kinds, st.none()) if absent else kinds, fits)


def real(low: float, high: float, *, open_low: bool = False, absent: bool = False) -> May:
    """A number; good ones are drawn from its range, not beyond 1000."""
    plain = st.floats(low, min(high, 1000.0), exclude_min=open_low, allow_subnormal=False)
    kinds = st.one_of(plain, plain.map(np.float64), plain.map(lambda value: torch.tensor(value, dtype=torch.float64)))

    def fits(value: Any) -> bool:
        if value is None or not is_real(value):
            return absent and value is None
        try:
            number = float(value)
        except OverflowError:
            return False
        return math.isfinite(number) and (low < number if open_low else low <= number) and number <= high

    return May(st.one_of(kinds, st.none()) if absent else kinds, fits)


def choice(*names: Any) -> May:
    """One of some values."""
    return May(st.sampled_from(names), lambda value: isinstance(value, str | None) and value in names)


def flag() -> May:
    """True or False."""
    truths = (bool, np.bool_)
    return May(st.booleans(), lambda value: isinstance(value, truths) or _is_truth(value))


def _is_truth(value: Any) -> bool:
    return str(getattr(value, "dtype", "")) in ("bool", "torch.bool") and value.ndim == 0


def members(each: May, least: int = 1, most: int = 3) -> May:
    """A list of some."""

    def fits(value: Any) -> bool:
        listed = isinstance(value, list | tuple | range) or getattr(value, "ndim", 0) == 1 or hasattr(value, "send")
        return listed and (hasattr(value, "send") or all(each.fits(one) for one in value))

    return May(st.lists(each.good, min_size=least, max_size=most), fits)


def tensor(*shape: int, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64, torch.bfloat16)) -> May:
    """A floating-point tensor; good ones have this shape, others may have any that the function takes."""

    def made(dtype: torch.dtype, seed: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()

    def fits(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 0

    return May(st.builds(made, st.sampled_from(dtypes), st.integers(0, 9)), fits)


def anything(good: st.SearchStrategy[Any], fits: Callable[[Any], bool]) -> May:
    """What is no number and no tensor."""
    return May(good, fits)


def called(entry: Entry, arguments: Mapping[str, Any], changed: tuple[str, ...]) -> Exception | None:
    """Call an entry point; gives its refusal, which has to be clear, or None where it took all."""
    refusal, result = outcome(entry.call, arguments)
    if refusal is not None:
        check_clear(refusal, (*changed, *entry.words))
        assert changed or entry.together, f"{entry.name} refuses what it has to take: {refusal}"
        return refusal
    for name in changed:
        assert entry.arguments[name].fits(arguments[name]), f"{entry.name} took {name} = {arguments[name]!r}"
    entry.same(result, arguments)
    return None


def outcome(call: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Exception | None, Any]:
    """What a call ends in: its error, or its result; one that would end the program is an error."""
    try:
        return None, call(**arguments)
    except (Exception, SystemExit) as error:
        return error if isinstance(error, Exception) else RuntimeError(f"exit with {error.code}"), None


def check_clear(error: Exception, names: tuple[str, ...]) -> None:
    """Assert that an error is ours, in one line, and says which argument it is about."""
    told = f"{type(error).__name__}: {error}"
    assert isinstance(error, REFUSALS), told
    *_, last = traceback.extract_tb(error.__traceback__)
    assert any(Path(last.filename).is_relative_to(folder) for folder in OURS), (told, last)
    assert (last.line or "").startswith("raise "), (told, last)
    said = str(error)
    assert len(said) > 15, told
    assert "\n" not in said, told
    assert not names or any(_means(name, said) for name in names), (told, names)


def _means(name: str, said: str) -> bool:
    return any(word in said for word in (name, name.replace("_", " "), name.replace("_", "-")))
