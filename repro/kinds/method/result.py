"""What was measured for a figure of the method."""

from typing import Any

from repro.harness.result import Measured
from repro.harness.schema import Run
from repro.kinds.method import keys
from repro.kinds.method.declare import MethodFigure


class MethodResult(Measured[MethodFigure]):
    """Numbers of the tensors that the pictures show."""

    @property
    def run(self) -> Run:
        """The one run behind them."""
        return self.records.runs[0]

    @property
    def shown(self) -> dict[str, Any]:
        """Which image: its place, caption, and where it comes from."""
        found: dict[str, Any] = self.run.config["shown"]
        return found

    @property
    def numbers(self) -> dict[str, float]:
        """Every record, by its metric; those of the fake model have names of their own."""
        return {record.metric: record.value for record in self.records.records if record.value is not None}

    def steps(self, metric: str) -> tuple[float, ...]:
        """A number of every step of sampling."""
        found = self.series(keys.STUDENT, metric)
        return found.values if found else ()
