"""Seconds per image and per training iteration, beside what the arithmetic allows."""

from repro.harness.kind import Kind, late
from repro.kinds.latency.declare import LatencyTable
from repro.kinds.latency.options import add_arguments, choose_profile, make_options

KIND = Kind(
    name="latency",
    declaration=LatencyTable,
    run=late("repro.kinds.latency.measure:run"),
    result=late("repro.kinds.latency.result:LatencyResult"),
    page=late("repro.kinds.latency.page:page"),
    plan=late("repro.kinds.latency.planned:planned"),
    drawing=late("repro.kinds.latency.figure:drawing"),
    add_arguments=add_arguments,
    choose_profile=choose_profile,
    make_options=make_options,
)
