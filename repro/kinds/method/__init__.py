"""The method in pictures: one training step, and the sampling of one image, from the tensors of a real run."""

from repro.harness.kind import Kind, late
from repro.kinds.method.declare import MethodFigure
from repro.kinds.method.options import add_arguments, make_options

KIND = Kind(
    name="method",
    declaration=MethodFigure,
    run=late("repro.kinds.method.measure:run"),
    result=late("repro.kinds.method.result:MethodResult"),
    page=late("repro.kinds.method.page:page"),
    plan=late("repro.kinds.method.planned:planned"),
    add_arguments=add_arguments,
    make_options=make_options,
)
