"""What was measured for Table 1, and its claims tested by a paired jackknife."""

import math
from functools import cached_property, partial

import numpy as np
from scipy.special import stdtrit

from repro.harness.cells import estimate
from repro.harness.claims import Compared, Comparison, Judgement, NoComparison, Verdict, judge
from repro.harness.experiment import Column
from repro.harness.result import Measured
from repro.harness.schema import RecordSet
from repro.kinds.upscaling import keys
from repro.kinds.upscaling.declare import Contrast, UpscalingTable

FID_E = Column("fid_e", "FID-E", better="lower", digits=2)


class UpscalingResult(Measured[UpscalingTable]):
    """The distances of Table 1, and the verdicts."""

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim with its verdict."""
        compare = partial(tested, records=self.records)
        return judge(self.experiment.contrasts, compare)


def tested(contrast: Contrast, records: RecordSet) -> Compared:
    """Compare the two sides of a claim by the jackknife that leaves the same images out of every row."""
    terms = [(1.0, term) for term in contrast.larger] + [(-1.0, term) for term in contrast.smaller]
    total, replicates, counts = 0.0, np.zeros(1), []
    for sign, (cell, timestep) in terms:
        found = estimate(records.find(cell, "", keys.fid_e(timestep)))
        blocks = records.find_series(cell, keys.fid_e_without_block(timestep))
        if found is None or blocks is None:
            return FID_E, NoComparison(Verdict.NOT_MEASURED, f"{cell} was not measured at t = {timestep}")
        total += sign * found.value
        replicates = replicates + sign * np.array(blocks.values)
        counts.append(blocks.n)
    half = _half_width(replicates)
    margin = _margin(contrast, records)
    return FID_E, Comparison(difference=total, low=total - half, high=total + half, margin=margin, n=min(counts))


def _margin(contrast: Contrast, records: RecordSet) -> float:
    """Half-width of the interval of the cell that the claim names; 0 where it names none."""
    if contrast.margin is None:
        return 0.0
    cell, timestep = contrast.margin
    own = estimate(records.find(cell, "", keys.fid_e(timestep)))
    return (own.high - own.low) / 2 if own and own.high is not None and own.low is not None else 0.0


def _half_width(replicates: np.ndarray) -> float:
    blocks = len(replicates)
    error = math.sqrt((blocks - 1) / blocks * float(np.square(replicates - replicates.mean()).sum()))
    return float(stdtrit(blocks - 1, 0.975)) * error
