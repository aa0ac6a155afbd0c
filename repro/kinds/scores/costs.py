"""What a row of a table of scores costs, as columns: compute, and in a table with a clock latency and parameters."""

from repro.harness.experiment import COMPUTE, Column
from repro.harness.schema import RecordSet
from repro.kinds.scores.declare import Table

SECONDS = "seconds"  # series over rounds: seconds of an image
LATENCY = Column("latency", "Latency", better="lower", digits=3, unit="s")
PARAMETERS = "parameters"  # record: of the network that is evaluated at every step
MILLIONS = Column(PARAMETERS, "Parameters", digits=2, unit="M", scale=1e-6)
BILLIONS = Column(PARAMETERS, "Parameters", digits=1, unit="B", scale=1e-9)


def cost_columns(table: Table, records: RecordSet) -> tuple[Column, ...]:
    """The columns of cost that a table shows, in the unit that suits its networks."""
    if table.clock is None:
        return COMPUTE
    counts = [record.value for record in records.records if record.metric == PARAMETERS and record.value is not None]
    return (LATENCY, BILLIONS if max(counts, default=0) >= 1e8 else MILLIONS, *COMPUTE)
