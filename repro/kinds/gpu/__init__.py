"""The first half hour on a GPU: whether everything runs there, how fast, and how far that is from what it could be."""

from repro.harness.kind import Kind, late
from repro.kinds.gpu.declare import GpuPage
from repro.kinds.gpu.options import add_arguments, make_options

KIND = Kind(
    name="gpu",
    declaration=GpuPage,
    run=late("repro.kinds.gpu.measure:run"),
    result=late("repro.kinds.gpu.result:GpuResult"),
    page=late("repro.kinds.gpu.page:page"),
    plan=late("repro.kinds.gpu.planned:planned"),
    profile="mini",
    add_arguments=add_arguments,
    make_options=make_options,
)
