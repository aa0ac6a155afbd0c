"""What interrupted and damaged runs leave, compared with undisturbed ones."""

from repro.harness.kind import Kind, late
from repro.kinds.reliability.declare import ReliabilityPage

KIND = Kind(
    name="reliability",
    declaration=ReliabilityPage,
    run=late("repro.kinds.reliability.measure:run"),
    result=late("repro.kinds.reliability.result:ReliabilityResult"),
    page=late("repro.kinds.reliability.page:page"),
    plan=late("repro.kinds.reliability.planned:planned"),
    profile="mini",
)
