"""Table 6: patch distribution matching against comparing patches one by one."""

from repro import _ablations as ablations
from repro._ablation_claims import NAIVE_CLAIMS
from repro.harness.experiment import Row
from repro.kinds.scores.declare import Table, real_rows

TABLE = Table(
    key="table6",
    title="Table 6: PDM against the naive patch loss",
    question="Is it better to match the distribution of patches than patches one by one?",
    rows=(
        *real_rows("Real scenes", *ablations.MINI),
        Row("teacher", "Teacher"),
        ablations.FULL_SHORT,
        ablations.RBF,
        ablations.NAIVE,
        ablations.NO_PDM,
        ablations.PDM_ONLY,
        ablations.RBF_ONLY,
        ablations.NAIVE_ONLY,
    ),
    claims=NAIVE_CLAIMS,
    reported=ablations.published("Tables 6 and 9", "COCO 2014"),
    seeds=ablations.SEEDS,
    few_seeds=ablations.FEW_SEEDS,
    details=False,
    prompts="COCO 2014",
    against=ablations.FULL.key,
    notes=ablations.NOTES,
)
