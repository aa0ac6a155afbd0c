"""Table 5: what each part of the recipe gives, on the prompts that stand for MJHQ."""

from repro import ablations
from repro.harness.experiment import Row
from repro.kinds.scores.declare import Table, real_rows

TABLE = Table(
    key="table5",
    title="Table 5: ablations, compositional captions",
    question="Which parts of the recipe matter?",
    rows=(*real_rows("Real scenes", *ablations.MINI), Row("teacher", "Teacher"), *ablations.ROWS),
    claims=ablations.CLAIMS,
    reported=ablations.published("Tables 6 and 9", "MJHQ"),
    seeds=ablations.SEEDS,
    few_seeds=ablations.FEW_SEEDS,
    prompts="MJHQ",
    against=ablations.FULL.key,
    notes=ablations.NOTES,
)
