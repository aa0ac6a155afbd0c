"""Which models fit where, by the cost model."""

from repro.harness.kind import Kind, late
from repro.kinds.support.declare import SupportPage

KIND = Kind(
    name="support",
    declaration=SupportPage,
    run=late("repro.kinds.support.measure:run"),
    result=late("repro.kinds.support.result:SupportResult"),
    page=late("repro.kinds.support.page:page"),
    plan=late("repro.kinds.support.planned:planned"),
    profile="mini",
)
