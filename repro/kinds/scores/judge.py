"""Tests claims about scores: paired bootstrap over prompts, and over training seeds where several.

A claim compares a candidate row with a baseline row in the profile's metric of a role. The difference of the two means
is oriented so that positive favours the candidate; where the claim is *not worse*, its margin is the metric's, as the
profile declares it, or where it declares none the half-width of the baseline's own 95 % interval. How it is resampled:
`repro.harness.bootstrap`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from repro.harness.bootstrap import Array, compare, compare_rounds
from repro.harness.claims import Compared, Comparison, NoComparison, Verdict
from repro.harness.experiment import ROLES, Column
from repro.harness.profile import Profile
from repro.harness.schema import CAPTIONS, RecordError, RecordSet
from repro.kinds.scores.costs import FEWEST_ROUNDS, SECONDS, SPEED
from repro.kinds.scores.declare import Check, Claim, Faster, Table


def tested(claim: Claim, table: Table, profile: Profile, records: RecordSet) -> Compared:
    """Compare the two rows of a claim in the profile's metric of its role.

    Raises:
        RecordError: the two rows have per-image values of different prompts.
    """
    if isinstance(claim.check, Faster):
        return SPEED, _timed(claim.check, records)
    role = claim.check.role
    column = next((column for column in profile.columns if column.role == role), None)
    if column is None:
        reason = f"{profile.title} has no metric of this"
        return Column(role, ROLES[role]), NoComparison(Verdict.NOT_TESTED, reason)
    return column, _compared(claim.check, column, table, profile, records)


def _timed(check: Faster, records: RecordSet) -> Comparison | NoComparison:
    """The median ratio of the two rows' seconds in rounds of the same number, less the factor.

    Rows of one network take turns, so a round is one moment; published pipelines are timed one after the other, and
    then it is not: the page says so.
    """
    sides = [records.find_series(row, SECONDS) for row in (check.baseline, check.candidate)]
    slow, fast = (None if side is None else np.array(side.values) for side in sides)
    if slow is None or fast is None or len(slow) < FEWEST_ROUNDS:
        return NoComparison(Verdict.NOT_MEASURED, f"{check.candidate} and {check.baseline} were not both timed")
    return compare_rounds(slow, fast, factor=check.factor)


def _compared(
    check: Check, column: Column, table: Table, profile: Profile, records: RecordSet
) -> Comparison | NoComparison:
    every = tuple(prompts.key for prompts in profile.prompt_sets if column.is_of(prompts.key))
    sets = check.prompts or every
    sides = [_pooled(records, table.row(row).key, sets, column.key) for row in (check.candidate, check.baseline)]
    for row, side in zip((check.candidate, check.baseline), sides, strict=True):
        if side is None:
            return NoComparison(Verdict.NOT_MEASURED, f"{row} has no {column.label} of single images")
    candidate, baseline = (column.sign * side for side in sides if side is not None)
    if candidate.shape[1] != baseline.shape[1]:
        counts = f"{candidate.shape[1]} and {baseline.shape[1]}"
        raise RecordError(
            f"{check.candidate} and {check.baseline}: {counts} per-image values of {column.key} cannot be paired"
        )
    comparison, half = compare(candidate, baseline, groups=_captions(records, sets))
    if check.kind == "at_least":
        return comparison
    return replace(comparison, margin=half if column.margin is None else column.margin)


def _pooled(records: RecordSet, variant: str, sets: Sequence[str], metric: str) -> Array | None:
    """Per-image values of all prompt sets side by side, (S, P); None where a set has none."""
    blocks = [_block(records, variant, prompts, metric) for prompts in sets]
    found = [block for block in blocks if block is not None]
    if len(found) < len(blocks):
        return None
    if len({len(block) for block in found}) > 1:
        raise RecordError(f"{variant}: prompt sets were measured with different training seeds ({metric})")
    return np.concatenate(found, axis=1)


def _captions(records: RecordSet, sets: Sequence[str]) -> NDArray[np.int64] | None:
    """Caption of every image of the pooled sets, numbered apart from set to set; None where they were not recorded."""
    lines = [records.values(CAPTIONS, prompts, CAPTIONS) for prompts in sets]
    if not all(lines):
        return None
    pairs = [(place, value) for place, found in enumerate(lines) for value in found[0].values]
    _, numbers = np.unique(np.array(pairs, dtype=float), axis=0, return_inverse=True)
    return numbers.reshape(-1)


def _block(records: RecordSet, variant: str, prompts: str, metric: str) -> Array | None:
    per_seed = records.values(variant, prompts, metric)
    if not per_seed:
        return None
    if len({len(line.values) for line in per_seed}) > 1:
        raise RecordError(f"{variant} {prompts} {metric}: training seeds have different numbers of images")
    return np.array([[np.nan if value is None else value for value in line.values] for line in per_seed], dtype=float)
