"""What was measured for Table 1, and its claims tested by a paired jackknife."""

import math
from functools import cached_property

import numpy as np
from scipy.special import stdtrit

from repro.harness.cells import estimate
from repro.harness.claims import Comparison, Judgement, Verdict, verdict
from repro.harness.experiment import Claim, Column, at_least, not_worse
from repro.harness.result import Measured
from repro.harness.schema import RecordSet
from repro.kinds.upscaling.declare import Contrast, UpscalingTable

FID_E = Column("fid_e", "FID-E", better="lower", digits=2)


class UpscalingResult(Measured[UpscalingTable]):
    """The distances of Table 1, and the verdicts."""

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim with its verdict."""
        return tuple(judge(contrast, self.experiment, self.records) for contrast in self.experiment.contrasts)


def judge(contrast: Contrast, table: UpscalingTable, records: RecordSet) -> Judgement:
    """Test one claim by the jackknife that leaves the same images out of every row."""
    test = at_least if contrast.margin is None else not_worse
    check = test(FID_E.key, contrast.smaller[0][0], contrast.larger[0][0])
    claim = Claim(contrast.key, contrast.text, check, source=contrast.source)
    terms = [(1.0, term) for term in contrast.larger] + [(-1.0, term) for term in contrast.smaller]
    total, replicates, counts = 0.0, np.zeros(1), []
    for sign, (cell, timestep) in terms:
        key = table.column(timestep).key
        found = estimate(records.find(cell, "", key))
        blocks = records.find_series(cell, f"{key}_without_block")
        if found is None or blocks is None:
            reason = f"{cell} was not measured at t = {timestep}"
            return Judgement(claim=claim, column=FID_E, verdict=Verdict.NOT_MEASURED, reason=reason)
        total += sign * found.value
        replicates = replicates + sign * np.array(blocks.values)
        counts.append(blocks.n)
    half = _half_width(replicates)
    margin = 0.0
    if contrast.margin is not None:
        own = estimate(records.find(contrast.margin[0], "", table.column(contrast.margin[1]).key))
        margin = (own.high - own.low) / 2 if own and own.high is not None and own.low is not None else 0.0
    comparison = Comparison(
        difference=total, low=total - half, high=total + half, margin=margin, n=min(counts), captions=min(counts)
    )
    return Judgement(claim=claim, column=FID_E, verdict=verdict(check, comparison), comparison=comparison)


def _half_width(replicates: np.ndarray) -> float:
    blocks = len(replicates)
    error = math.sqrt((blocks - 1) / blocks * float(np.square(replicates - replicates.mean()).sum()))
    return float(stdtrit(blocks - 1, 0.975)) * error
