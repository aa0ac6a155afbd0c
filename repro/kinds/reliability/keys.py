"""What the numbers of the page of faults are called in its records. The variant is the key of a fault."""

INJECTED = "injected"  # record: how often a run was disturbed, and went on to the bits of an undisturbed one
REPEATED = "done_twice"  # record: finished steps or shards that were done a second time
