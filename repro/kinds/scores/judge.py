"""Tests claims about scores on per-image values, paired over prompts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from repro.harness.bootstrap import Array, compare
from repro.harness.claims import Judgement, Verdict, verdict
from repro.harness.experiment import Claim, Column
from repro.harness.profile import Profile
from repro.harness.schema import CAPTIONS, RecordError, RecordSet
from repro.kinds.scores.declare import Table


def judge_all(table: Table, profile: Profile, records: RecordSet) -> list[Judgement]:
    """Judge the claims of a table that name a metric of this profile, in the order of the table."""
    return [
        judge(claim, column, table, profile, records)
        for claim in table.claims
        if (column := profile.column(claim.check.metric)) is not None
    ]


def judge(claim: Claim, column: Column, table: Table, profile: Profile, records: RecordSet) -> Judgement:
    """Test one claim.

    Raises:
        RecordError: the two rows have per-image values of different prompts.
    """
    check = claim.check
    sets = check.prompts or tuple(prompts.key for prompts in profile.prompt_sets)
    sides = [_pooled(records, table.row(row).key, sets, check.metric) for row in (check.candidate, check.baseline)]
    for row, side in zip((check.candidate, check.baseline), sides, strict=True):
        if side is None:
            reason = f"no per-image values of {check.metric} for {row}"
            return Judgement(claim=claim, column=column, verdict=Verdict.NOT_MEASURED, reason=reason)
    candidate, baseline = (column.sign * side for side in sides if side is not None)
    if candidate.shape[1] != baseline.shape[1]:
        counts = f"{candidate.shape[1]} and {baseline.shape[1]}"
        raise RecordError(f"claim {claim.key}: {counts} per-image values of {check.metric} cannot be paired")
    comparison = compare(candidate, baseline, groups=_captions(records, sets))
    return Judgement(claim=claim, column=column, verdict=verdict(check, comparison), comparison=comparison)


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
