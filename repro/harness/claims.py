"""Tests the paper's claims on our records: paired bootstrap over prompts, and over training seeds where several.

A claim compares a candidate row with a baseline row in one metric. The difference d of the two means is oriented so
that positive favours the candidate, and has a 95 % percentile interval [low, high] from 10,000 resamples. Captions are
drawn with replacement, each with all its images, the same draw for both rows; each row then draws its own training
seeds. With h the half-width of the baseline's own 95 % interval, the verdict is

    at least as good:  reproduced if low >= 0,   not reproduced if high < 0,  else inconclusive
    not worse:         reproduced if low >= -h,  not reproduced if high < -h, else inconclusive

Two rows that agree on every single image decide nothing: inconclusive.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from repro.harness.experiment import Check, Claim, Column

Array = NDArray[np.float64]
Counts = NDArray[np.uint16]


class Verdict(StrEnum):
    """Outcome of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate minus baseline, oriented so that positive favours the candidate, in the unit of the records.

    ``margin`` is the half-width of the baseline's own 95 % interval, ``n`` the number of paired images, ``captions``
    that of different captions among them. ``differs`` is False where the two agree on every image.
    """

    difference: float
    low: float
    high: float
    margin: float
    n: int
    captions: int
    differs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A claim with its verdict. Without a comparison the verdict is NOT_MEASURED and ``reason`` says why."""

    claim: Claim
    column: Column
    verdict: Verdict
    comparison: Comparison | None = None
    reason: str = ""


def verdict(check: Check, comparison: Comparison) -> Verdict:
    """The rule at the head of this module."""
    low, high = comparison.low, comparison.high
    if not comparison.differs:
        return Verdict.INCONCLUSIVE
    bound = 0.0 if check.kind == "at_least" else -comparison.margin
    holds, fails = low >= bound, high < bound
    return Verdict.REPRODUCED if holds else Verdict.NOT_REPRODUCED if fails else Verdict.INCONCLUSIVE
