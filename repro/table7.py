"""Table 7: what each part of the recipe gives, on the prompts that stand for COCO 2014."""

from repro import _ablations as ablations
from repro._ablation_claims import CLAIMS
from repro.harness.experiment import Row
from repro.kinds.scores.declare import Table, real_rows

TABLE = Table(
    key="table7",
    title="Table 7: ablations, short captions",
    question="Which parts of the recipe matter?",
    rows=(
        *real_rows("Real scenes", *ablations.MINI),
        Row("teacher", "Teacher"),
        ablations.FULL_SHORT,
        *ablations.OTHERS,
    ),
    claims=CLAIMS,
    reported=ablations.published("Table 9", "COCO 2014"),
    seeds=ablations.SEEDS,
    few_seeds=ablations.FEW_SEEDS,
    details=False,
    prompts="COCO 2014",
    against=ablations.FULL.key,
    notes=ablations.NOTES,
)
