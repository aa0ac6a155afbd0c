"""What was counted of the supported models."""

from repro.harness.result import Measured
from repro.harness.schema import RecordError
from repro.kinds.support import keys
from repro.kinds.support.declare import SupportPage

GIB = 2**30


class SupportResult(Measured[SupportPage]):
    """Memory of the models; the paper does not say what its own takes."""

    def gib(self, model: str, metric: str) -> float:
        """A counted size.

        Raises:
            RecordError: the records were counted before there was this model or size.
        """
        value = self.value(model, metric)
        if value is None:
            raise RecordError(f"{self.stem}: {metric} of {model} was not counted, measure the page again")
        return value / GIB

    def gpu(self, model: str, use: keys.Use) -> int | None:
        """Memory in GiB of the smallest GPU that a use fits into; None where one GPU is not enough."""
        needed = self.gib(model, keys.peak_bytes(use)) / (1 - self.experiment.spare)
        return next((size for size in self.experiment.gpus if size >= needed), None)
