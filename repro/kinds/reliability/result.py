"""What became of disturbed runs."""

from repro.harness.result import Measured
from repro.harness.schema import Record, RecordError
from repro.kinds.reliability.declare import ReliabilityPage


class ReliabilityResult(Measured[ReliabilityPage]):
    """Counts of faults; the paper says nothing of them."""

    def count(self, fault: str, metric: str) -> Record:
        """A count of a fault, which has a note where the fault could not be injected.

        Raises:
            RecordError: the records were measured before there was this fault.
        """
        found = self.records.find(fault, "", metric)
        if not found:
            raise RecordError(f"{self.stem}: {metric} of {fault} was not counted, measure the page again")
        return found[0]
