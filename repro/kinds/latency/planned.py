"""Says what a table of times would time."""

from collections.abc import Mapping

from repro.harness.profile import Profile
from repro.kinds.latency.declare import LatencyTable
from repro.kinds.latency.measure import check
from repro.kinds.latency.options import LatencyOptions
from repro.stages.failures import problem


def planned(table: LatencyTable, profile: Profile, options: LatencyOptions) -> Mapping[str, str]:
    """The plan of a table, as names and words."""
    protocol = options.protocol
    rows = [timed.key for timed in table.rows if not protocol.rows or timed.key in protocol.rows]
    batches = " and ".join(map(str, protocol.batch_sizes))
    training = f"{protocol.train_rounds} timed cycles of every student's schedule" if protocol.train_rounds else "none"
    return {
        "Rows": ", ".join(rows),
        "Images": f"batches of {batches}, {protocol.warmup} to warm up and {protocol.rounds} timed rounds, "
        f"in {protocol.dtype}",
        "Training": training,
        "Missing": problem(lambda: check(table, profile, options)),
    }
