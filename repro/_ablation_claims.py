"""What Tables 5, 6 and 7 claim of the parts of the recipe: the student that has all of them against others."""

from collections.abc import Mapping
from typing import Literal

from repro import _ablations as rows
from repro.harness.experiment import Role, Row
from repro.kinds.scores.declare import Claim, better, not_worse

ROLES: Mapping[Role, str] = {
    "prompt_alignment": "alignment",
    "preference": "preference",
    "text_similarity": "similarity",
    "reward": "reward",
    "fidelity": "fidelity",
    "distribution": "distance",
}
"""A claim is asked in each of these that a profile measures, by the word that ends its key."""
PRIMARY: tuple[Role, ...] = ("prompt_alignment", "preference")
"""Of these a page measures one, which its primary claims are about; in the others the same is asked as secondary."""
OF_TEXT: tuple[Role, ...] = ("prompt_alignment", "text_similarity")
Compared = Literal["better", "not_worse"]


def claims(
    key: str,
    text: str,
    kind: Compared,
    candidate: Row,
    baseline: Row,
    *,
    source: str = "v1, Tables 5 and 7",
    statement: str = "",
    roles: tuple[Role, ...] = tuple(ROLES),
    primary: tuple[Role, ...] = PRIMARY,
) -> tuple[Claim, ...]:
    """One claim in each of some roles.

    Args:
        key: of the claim, before the word of the role.
        text: the statement.
        kind: what is claimed of the candidate.
        candidate: row that it favours.
        baseline: row that it is compared with.
        source: where the paper makes it.
        statement: key of the paper's sentence.
        roles: in which it is asked.
        primary: those of them whose p is adjusted with the other primary ones.
    """
    compare = better if kind == "better" else not_worse
    return tuple(
        Claim(
            f"{key}_{ROLES[role]}",
            text,
            compare(role, candidate.key, baseline.key),
            source=source,
            primary=role in primary,
            statement=statement,
        )
        for role in roles
    )


V2_6, V2_9, V1_4 = "v2, Table 6", "v2, Table 9", "v1, section 4"
CLAIMS = (
    *claims("pdm", "The full loss is better than without PDM", "better", rows.FULL, rows.NO_PDM, statement="pdm_helps"),
    *claims(
        "pdm_alone",
        "PDM alone is not worse than the full loss",
        "not_worse",
        rows.PDM_ONLY,
        rows.FULL,
        source=V2_6,
        statement="pdm_alone",
    ),
    *claims(
        "rbf",
        "The RBF kernel (bandwidth 100, as published) is not worse than the linear one",
        "not_worse",
        rows.RBF,
        rows.FULL,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "linear",
        "The linear kernel is not worse than the RBF one (bandwidth 100)",
        "not_worse",
        rows.FULL,
        rows.RBF,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "rbf_median",
        "The RBF kernel (median bandwidth, which follows the features) is not worse than the linear one",
        "not_worse",
        rows.RBF_MEDIAN,
        rows.FULL,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "linear_median",
        "The linear kernel is not worse than the RBF one (median bandwidth)",
        "not_worse",
        rows.FULL,
        rows.RBF_MEDIAN,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "pooling",
        "PDM image by image follows captions better than over the whole batch",
        "better",
        rows.FULL,
        rows.POOLED,
        source=V2_6,
        statement="pooling_hurts",
        roles=OF_TEXT,
        primary=OF_TEXT,
    ),
    *claims(
        "noise",
        "Noise before the features is better than clean features",
        "better",
        rows.FULL,
        rows.CLEAN,
        source=V2_6,
        statement="noise_helps",
    ),
    *claims(
        "progressive_half",
        "Scales that rise at every step are better than half the side until the last (6 % fewer tokens)",
        "better",
        rows.FULL,
        rows.HALF,
        source=V2_9,
        statement="progressive",
    ),
    *claims(
        "progressive_quarter",
        "Scales that rise at every step are better than a quarter of the side until the last (45 % fewer tokens)",
        "better",
        rows.FULL,
        rows.QUARTER,
        source=V2_9,
        statement="progressive",
    ),
    *claims(
        "pixels",
        "Downscaling in pixels is better than downscaling latents",
        "better",
        rows.FULL,
        rows.LATENTS,
        source=V1_4,
        statement="pixel_downscaling",
    ),
    *claims("shift", "Time shift is better than none", "better", rows.FULL, rows.NO_SHIFT, statement="time_shift"),
    *claims(
        "scalewise_training",
        "Training scale-wise is better than training at full scale, sampled alike",
        "better",
        rows.FULL,
        rows.FULLSCALE,
        statement="scalewise_training",
    ),
    *claims(
        "convergence",
        "After half the iterations the full loss is not worse than without PDM after all of them",
        "not_worse",
        rows.FULL_HALF_WAY,
        rows.NO_PDM,
        source=V1_4,
        statement="pdm_converges",
    ),
)
NAIVE_CLAIMS = (
    *claims(
        "naive",
        "Beside DMD and GAN, PDM is better than the naive patch loss",
        "better",
        rows.FULL,
        rows.NAIVE,
        source="v1, Table 6",
        statement="naive_patch",
    ),
    *claims(
        "naive_alone",
        "Alone, PDM is better than the naive patch loss",
        "better",
        rows.PDM_ONLY,
        rows.NAIVE_ONLY,
        source="v1, Table 6",
        statement="naive_patch",
    ),
)
