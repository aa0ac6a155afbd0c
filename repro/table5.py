"""Table 5: what each part of the recipe gives, on the prompts that stand for MJHQ."""

from dataclasses import replace

from repro import _ablations as ablations
from repro._ablation_claims import CLAIMS, Compared, claims
from repro.harness.experiment import Row, Variant
from repro.harness.scope import NOT_IN_PAPER
from repro.kinds.scores.declare import Claim, Table, real_rows

TABLE = Table(
    key="table5",
    title="Table 5: ablations, compositional captions",
    question="Which parts of the recipe matter?",
    rows=(*real_rows("Real scenes", *ablations.MINI), Row("teacher", "Teacher"), ablations.FULL, *ablations.OTHERS),
    claims=CLAIMS,
    reported=ablations.published("Tables 6 and 9", "MJHQ"),
    seeds=ablations.SEEDS,
    few_seeds=ablations.FEW_SEEDS,
    details=False,
    prompts="MJHQ",
    against=ablations.FULL.key,
    notes=ablations.NOTES,
)

TRIED = (ablations.FULL, ablations.NO_PDM, ablations.PDM_ONLY, ablations.NAIVE, ablations.NAIVE_ONLY)
SLOWER = tuple(ablations.slower(row) for row in TRIED)


def _at_a_rate(which: str, rows: tuple[Row, ...]) -> tuple[Claim, ...]:
    """What Tables 5 and 6 claim of PDM, at one rate."""
    full, no_pdm, pdm_only, naive, naive_only = rows
    asked: dict[str, tuple[str, Compared, Row, Row]] = {
        "pdm": ("the full loss is better than without PDM", "better", full, no_pdm),
        "pdm_alone": ("PDM alone is not worse than the full loss", "not_worse", pdm_only, full),
        "naive": ("beside DMD and GAN, PDM is better than the naive patch loss", "better", full, naive),
        "naive_alone": ("alone, PDM is better than the naive patch loss", "better", pdm_only, naive_only),
    }
    return tuple(
        claim
        for key, (text, kind, candidate, baseline) in asked.items()
        for claim in claims(
            f"{which}_{key}",
            f"At {RATE[which]}, {text}",
            kind,
            candidate,
            baseline,
            source=NOT_IN_PAPER,
            primary=(),
        )
    )


RATE = {"own": "the tuned rate", "slower": "a quarter of the rate"}
RATES = replace(
    TABLE,
    key="table5_rates",
    variant=Variant("table5", "rates", "the main variants at a quarter of the learning rate beside their own"),
    title="Table 5, rates: the main ablations at two learning rates",
    question="Does a part of the recipe matter only because the rate was tuned with it?",
    rows=(*real_rows("Real scenes", *ablations.MINI), Row("teacher", "Teacher"), *TRIED, *SLOWER),
    claims=(*_at_a_rate("own", TRIED), *_at_a_rate("slower", SLOWER)),
    reported=None,
    seeds=ablations.FEW_SEEDS,
    few_seeds=(),
    distils=True,
)
