"""A training iteration, from the published order of passes to the lean one."""

from repro.harness.kind import Kind, late
from repro.kinds.training_cost.declare import TrainingCostPage

KIND = Kind(
    name="training_cost",
    declaration=TrainingCostPage,
    run=late("repro.kinds.training_cost.measure:run"),
    result=late("repro.kinds.training_cost.result:TrainingCostResult"),
    page=late("repro.kinds.training_cost.page:page"),
    plan=late("repro.kinds.training_cost.planned:planned"),
    profile="mini",
)
