"""The assessor's interface: the page of one question of a preference study, as a browser shows it."""

from repro.harness.kind import Kind, late, named_profile
from repro.kinds.interface.declare import InterfaceFigure

KIND = Kind(
    name="interface",
    declaration=InterfaceFigure,
    run=late("repro.kinds.interface.measure:run"),
    result=late("repro.kinds.interface.result:InterfaceResult"),
    page=late("repro.kinds.interface.page:page"),
    plan=late("repro.kinds.interface.planned:planned"),
    choose_profile=named_profile,
)
