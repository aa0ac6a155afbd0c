"""What was measured of the building blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from repro.harness.result import Measured
from repro.harness.schema import Curve
from repro.kinds.benchmarks.declare import BenchmarkPage


class BenchmarkResult(Measured[BenchmarkPage]):
    """Times of the building blocks; the paper says nothing about our code."""

    def providers(self) -> dict[str, dict[str, Curve]]:
        """Case -> provider -> its seconds in every round."""
        found: dict[str, dict[str, Curve]] = {}
        for curve in self.records.curves:
            if curve.metric.startswith("seconds_"):
                found.setdefault(curve.variant, {})[curve.metric.removeprefix("seconds_")] = curve
        return found

    def about(self, variant: str) -> Mapping[str, Any]:
        """Configuration of a benchmark."""
        found: Mapping[str, Any] = self.records.runs[0].config["benchmarks"].get(variant, {})
        return found

    def ratios(self, curves: Mapping[str, Curve]) -> Iterator[tuple[str, list[float]]]:
        """Each provider's time by the baseline's, within each round."""
        baseline = np.array(curves[self.experiment.baseline].y)
        for provider in (*self.experiment.targets, self.experiment.baseline):
            if provider in curves:
                yield provider, (np.array(curves[provider].y) / baseline).tolist()
