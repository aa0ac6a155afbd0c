"""What was measured of training iterations."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from repro.harness.result import Measured
from repro.harness.schema import RecordError
from repro.kinds.training_cost import keys
from repro.kinds.training_cost.declare import TrainingCostPage


class TrainingCostResult(Measured[TrainingCostPage]):
    """Times and counts of the orders; the paper does not say what its training spends."""

    def about(self, model: str) -> Mapping[str, Any] | None:
        """How a model was timed; None if it was not."""
        described: Mapping[str, Any] = self.records.runs[0].config["benchmarks"]
        return next((about for about in described.values() if about["model"] == model), None)

    def seconds(self, order: str, model: str) -> np.ndarray:
        """Of an iteration, in every round.

        Raises:
            RecordError: the records were measured before there was this order.
        """
        rounds = self.series(order, keys.seconds(model))
        if rounds is None:
            raise RecordError(f"{self.stem}: order {order!r} of {model} was not timed, measure the page again")
        return np.array(rounds.values)
