"""What the paper is said to claim, against its own numbers: what those do not bear out is no claim of it."""

from statistics import fmean

import pytest

from repro import table2, table3, table4
from repro.harness.published import NOISE, published
from repro.harness.scope import NOT_IN_PAPER
from repro.harness.statements import statements
from repro.kinds.latency.declare import SpeedClaim
from repro.kinds.scores.declare import Check, Claim

METRICS = {"text_similarity": "clipscore", "preference": "pickscore", "reward": "image_reward", "distribution": "fid"}
SETS = {"COCO 2014": "coco_", "MJHQ": "mjhq_"}
MODELS = {
    "sdxl_turbo": "SDXL-Turbo",
    "dmd2_sdxl": "DMD2-SDXL",
    "swd_medium_6": "SwD Medium",
    "swd_large_6": "SwD Large",
}
MODELS |= {"sd35_medium": "SD3.5 Medium", "sd35_large": "SD3.5 Large"}


def of_table2(row: str, metric: str) -> list[float]:
    """A row's published numbers, a set of prompts each; the teacher's are those of the project page."""
    if row == "teacher":
        return of_page("sd35_medium", metric)
    wanted = ("v1", "SD3.5 Medium", *(table2.TABLE.row(row).reported or {}).values())
    lines = published("table2_scalewise_vs_fullscale.csv")
    return [float(x[metric]) for x in lines if (x["source"], x["model"], x["setup"], x["steps"]) == wanted]


def of_page(row: str, metric: str) -> list[float]:
    """A system's numbers on the project page."""
    (line,) = [line for line in published("table4_models.csv") if line["model"] == MODELS[row]]
    return [float(line["geneval"])] if metric == "geneval" else [float(line[x + metric]) for x in SETS.values()]


def holds(check: Check, metric: str, candidate: list[float], baseline: list[float]) -> bool:
    gap = (-1 if metric == "fid" else 1) * (fmean(candidate) - fmean(baseline))
    return gap > 0 if check.kind == "better" else gap >= -NOISE[metric]


def in_published_metrics(claims: tuple[Claim, ...]) -> list[Claim]:
    return [
        claim
        for claim in claims
        if isinstance(claim.check, Check) and claim.source != NOT_IN_PAPER and claim.check.role in METRICS
    ]


@pytest.mark.parametrize("claim", in_published_metrics(table2.CLAIMS), ids=lambda claim: claim.key)
def test_table_2_bears_out_its_claims(claim: Claim) -> None:
    assert isinstance(claim.check, Check)
    metric = METRICS[claim.check.role]
    sides = [of_table2(row, metric) for row in (claim.check.candidate, claim.check.baseline)]
    assert [len(side) for side in sides] == [2, 2]
    assert holds(claim.check, metric, *sides)


REAL = [claim for claim in table4.REAL_CLAIMS if isinstance(claim.check, Check) and claim.source != NOT_IN_PAPER]


@pytest.mark.parametrize("claim", REAL, ids=lambda claim: claim.key)
def test_the_project_page_bears_out_its_claims(claim: Claim) -> None:
    assert isinstance(claim.check, Check)
    metric = {**METRICS, "prompt_alignment": "geneval"}[claim.check.role]
    assert holds(claim.check, metric, *(of_page(row, metric) for row in claim.check.rows))


@pytest.mark.parametrize("claim", [c for c in table3.TABLE.claims if c.primary], ids=lambda claim: claim.key)
def test_table_3_bears_out_its_claims(claim: SpeedClaim) -> None:
    """Of SD3.5 Medium, in version 1."""
    column = "train_s_per_iter" if claim.training else "latency_s_per_image"

    def seconds(key: str) -> float:
        named = table3.TABLE.row(key).row.reported or {}
        wanted = {"source": "v1", "model": "SD3.5 Medium", **named}
        (line,) = [x for x in published("table3_times.csv") if all(x[k] == v for k, v in wanted.items())]
        return float(line[column])

    assert seconds(claim.slow) / seconds(claim.fast) >= claim.factor * (1 - claim.margin)


def test_what_was_not_recovered_is_nobodys_source() -> None:
    assert not [one.key for one in statements().values() if "Table 4" in one.where]
