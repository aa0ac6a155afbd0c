"""Times of the building blocks, from pytest-benchmark."""

from repro.harness.kind import Kind, late
from repro.kinds.benchmarks.declare import BenchmarkPage

KIND = Kind(
    name="benchmarks",
    declaration=BenchmarkPage,
    run=late("repro.kinds.benchmarks.measure:run"),
    result=late("repro.kinds.benchmarks.result:BenchmarkResult"),
    page=late("repro.kinds.benchmarks.page:page"),
    plan=late("repro.kinds.benchmarks.planned:planned"),
    drawing=late("repro.kinds.benchmarks.figure:drawing"),
    profile="mini",
)
