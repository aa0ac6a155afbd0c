"""Which metrics measure what they should, tried on images of known quality."""

from repro.harness.kind import Kind, late
from repro.kinds.validity.declare import ValidityPage

KIND = Kind(
    name="validity",
    declaration=ValidityPage,
    run=late("repro.kinds.validity.measure:run"),
    result=late("repro.kinds.validity.result:ValidityResult"),
    page=late("repro.kinds.validity.page:page"),
    plan=late("repro.kinds.validity.planned:planned"),
    profile="mini",
)
