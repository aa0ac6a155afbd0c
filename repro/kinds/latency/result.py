"""What was measured for Table 3, and its claims tested on the rounds."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from repro.harness.claims import Compared, Judgement, judge
from repro.harness.clock import compared_times
from repro.harness.result import Measured
from repro.kinds.latency import keys
from repro.kinds.latency.declare import LatencyTable, SpeedClaim


class LatencyResult(Measured[LatencyTable]):
    """The clock and the counts of Table 3, and the verdicts."""

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim with its verdict."""
        return judge(map(self._with_ideal, self.experiment.claims), self._tested)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """As measured."""
        return tuple(self.protocol["batch_sizes"])

    @property
    def protocol(self) -> Mapping[str, Any]:
        """How it was measured."""
        found: Mapping[str, Any] = self.records.runs[0].config["protocol"]
        return found

    @property
    def sides(self) -> list[int]:
        """Latent sides of the students' steps, rising."""
        found = (self.series(timed.key, keys.SIDES) for timed in self.experiment.rows)
        return sorted({round(side) for series in found if series is not None for side in series.values})

    def note(self, key: str, metric: str) -> str:
        """Why a row has no times."""
        found = self.records.find(key, "", metric)
        return found[0].note if found and found[0].note else "Not measured yet."

    def flops(self, key: str, batch: int) -> float:
        """Of one image in a batch, all parts; the empty prompt of guidance serves the whole batch."""
        image = sum(self.value(key, keys.flops(part)) or 0.0 for part in keys.PARTS if part != "empty")
        return image + (self.value(key, keys.flops("empty")) or 0.0) / batch

    def ratios(self, slow: str, fast: str, batch: int) -> "np.ndarray | None":
        """Seconds of the slow row by those of the fast one, within each round; None unless both were timed."""
        above, below = (self.series(key, keys.seconds(batch)) for key in (slow, fast))
        if above is None or below is None:
            return None
        ratios: np.ndarray = np.array(above.values) / np.array(below.values)
        return ratios

    def ideal(self, slow: str, fast: str, batch: int) -> float | None:
        """FLOPs of the slow row by those of the fast one; None where they were not counted."""
        counts = [self.flops(key, batch) for key in (slow, fast)]
        return counts[0] / counts[1] if all(counts) else None

    def _allowed(self, claim: SpeedClaim) -> float | None:
        """What the FLOPs of the two rows of a claim allow; None where they were not counted."""
        if not claim.training:
            return self.ideal(claim.slow, claim.fast, claim.batch_size)
        counts = [self.value(key, keys.train_flops(claim.training)) for key in (claim.slow, claim.fast)]
        return counts[0] / counts[1] if counts[0] and counts[1] else None

    def _with_ideal(self, claim: SpeedClaim) -> SpeedClaim:
        """The claim with what its FLOPs allow beside it."""
        ideal = self._allowed(claim)
        return claim if ideal is None else replace(claim, text=f"{claim.text} (FLOPs allow {ideal:.2f})")

    def _tested(self, claim: SpeedClaim) -> Compared:
        """Compare two rows by the log ratio of their times within each round."""
        name = keys.train_seconds(claim.training) if claim.training else keys.seconds(claim.batch_size)
        slow, fast = (self.series(key, name) for key in (claim.slow, claim.fast))
        missing = f"not both were measured, {claim.scope.conditions}"
        return compared_times(slow, fast, missing=missing, ratio=claim.factor, margin=claim.margin)
