"""What was measured of the building blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from repro.harness.result import Measured
from repro.harness.schema import Series
from repro.kinds.benchmarks.declare import BenchmarkPage


class BenchmarkResult(Measured[BenchmarkPage]):
    """Times of the building blocks; the paper says nothing about our code."""

    def providers(self) -> dict[str, dict[str, Series]]:
        """Case -> provider -> its seconds in every round."""
        found: dict[str, dict[str, Series]] = {}
        for seconds in self.records.series:
            if seconds.metric.startswith("seconds_"):
                found.setdefault(seconds.variant, {})[seconds.metric.removeprefix("seconds_")] = seconds
        return found

    def about(self, variant: str) -> Mapping[str, Any]:
        """Configuration of a benchmark."""
        found: Mapping[str, Any] = self.records.runs[0].config["benchmarks"].get(variant, {})
        return found

    def ratios(self, timed: Mapping[str, Series]) -> Iterator[tuple[str, list[float]]]:
        """Each provider's time by the baseline's, within each round."""
        baseline = np.array(timed[self.experiment.baseline].values)
        for provider in (*self.experiment.targets, self.experiment.baseline):
            if provider in timed:
                yield provider, (np.array(timed[provider].values) / baseline).tolist()
