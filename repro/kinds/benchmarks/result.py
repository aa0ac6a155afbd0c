"""What was measured of the building blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from repro.harness.result import Measured
from repro.harness.schema import Series
from repro.kinds.benchmarks import keys
from repro.kinds.benchmarks.declare import BenchmarkPage


class BenchmarkResult(Measured[BenchmarkPage]):
    """Times of the building blocks; the paper says nothing about our code."""

    def providers(self) -> dict[str, dict[str, Series]]:
        """Case in which providers took turns -> provider -> its seconds in every round."""
        cases = dict.fromkeys(series.variant for series in self.records.series)
        found = {case: self._timed(case) for case in cases}
        return {case: timed for case, timed in found.items() if timed}

    def _timed(self, case: str) -> dict[str, Series]:
        found = {provider: self.series(case, keys.seconds(provider)) for provider in self.experiment.providers}
        return {provider: seconds for provider, seconds in found.items() if seconds is not None}

    def about(self, variant: str) -> Mapping[str, Any]:
        """Configuration of a benchmark."""
        found: Mapping[str, Any] = self.records.runs[0].config["benchmarks"].get(variant, {})
        return found

    def ratios(self, timed: Mapping[str, Series]) -> Iterator[tuple[str, list[float]]]:
        """Each provider's time by the baseline's, within each round."""
        baseline = np.array(timed[self.experiment.baseline].values)
        for provider, seconds in timed.items():
            yield provider, (np.array(seconds.values) / baseline).tolist()
