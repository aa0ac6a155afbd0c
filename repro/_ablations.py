"""What Tables 5, 6 and 7 share: variants of the six-step student, each with one named change, and claims about them.

The paper's own numbers of these tables (v1) were not recovered; the nearest ones are v2's Tables 6 and 9.
"""

from collections.abc import Mapping
from typing import Any

from repro.harness.experiment import Agreement, Column, Reported, Role, Row
from repro.harness.published import NOISE
from repro.kinds.scores.declare import Check, Claim, better, not_worse

MINI = ("mini", "smoke")
MEDIUM = ("sd35-medium",)


def variant(key: str, label: str, v2: str = "", *, profiles: tuple[str, ...] = (), **changes: Any) -> Row:
    """The six-step scale-wise student with these options changed.

    Args:
        key: of the row, and name of the student.
        label: what is changed.
        v2: what v2's ablations call it; empty where they have no such row.
        profiles: those that have it; empty for all.
        changes: ``schedule``, ``data`` or fields of ``DistillConfig``.
    """
    reported: Mapping[str, str] | None = {"setup": v2} if v2 else None
    return Row(key, label, train={"schedule": "6", **changes}, reported=reported, profiles=profiles)


FULL = Row(
    "scalewise_6",
    "Full loss",
    train={"schedule": "6"},
    reported={"setup": "full loss"},
    reported_in={"coco": {"setup": "scales 32,48,64,80,96,128"}},
)
NO_PDM = variant("no_pdm", "Without PDM", "full without MMD", weight_pdm=0.0)
PDM_ONLY = variant("pdm_only", "PDM only", "MMD only", weight_dmd=0.0, weight_gan=0.0)
NO_DMD = variant("no_dmd", "Without DMD", weight_dmd=0.0)
NO_GAN = variant("no_gan", "Without GAN", weight_gan=0.0)
RBF = variant("rbf", "PDM with RBF kernel, bandwidth 100", "RBF kernel", pdm_kernel="rbf")
RBF_MEDIAN = variant(
    "rbf_median", "PDM with RBF kernel, median bandwidth", pdm_kernel="rbf", pdm_bandwidth_rule="median"
)
POOLED = variant("pooled", "PDM over the whole batch", "batch averaging", pdm_pool_batch=True)
CLEAN = variant("clean_features", "PDM without noise", "no noising before features", pdm_noise=False)
FAKE = variant("fake_features", "PDM on the fake model's features", pdm_features="fake")
BLOCKS = (
    variant("block_0", "Features of block 1 of 4", feature_block=0, profiles=MINI),
    variant("block_2", "Features of block 3 of 4", feature_block=2, profiles=MINI),
    variant("block_3", "Features of block 4 of 4", feature_block=3, profiles=MINI),
    variant("block_early", "Features of block 5 of 24", feature_block=4, profiles=MEDIUM),
    variant("block_late", "Features of block 20 of 24", feature_block=19, profiles=MEDIUM),
)
NO_SHIFT = variant("no_shift", "Without time shift", shift=1.0)
HALF = variant("half", "Half the side, then all", "scales 64,64,64,64,64,128", schedule="half-6")
QUARTER = variant("quarter", "A quarter of the side, then all", "scales 32,32,32,32,32,128", schedule="quarter-6")
SPECTRUM = Row("spectrum_6", "Scales from the spectrum", train={"schedule": "spectrum-6"}, profiles=MINI)
FULLSCALE = Row(
    "fullscale_trained",
    "Trained at full scale, sampled scale-wise",
    train={"schedule": "full-6"},
    sample={"schedule": "6"},
    variant="fullscale_6",
)
LATENTS = variant("latent_downscaling", "Latents downscaled, not pixels", downscale="latents")
NEAREST = variant("nearest", "Nearest upscaling", upscale="nearest")
BILINEAR = variant("bilinear", "Bilinear upscaling", upscale="bilinear")
FAKE_1 = variant("fake_1", "One fake update", fake_updates=1)
FAKE_5 = variant("fake_5", "Five fake updates", fake_updates=5)
BY_TEACHER = variant("teacher_data", "Trained on images of the teacher", data="teacher", profiles=MINI)
RANK_4 = variant("rank_4", "LoRA of rank 4", rank=4, alpha=4.0)
RANK_64 = variant("rank_64", "LoRA of rank 64", rank=64, alpha=64.0, profiles=MINI)
MIXED = variant("mixed_steps", "A step drawn for every image", mixed_steps=True)
NAIVE = variant("naive", "Naive patch loss in place of PDM", pdm_kernel="naive")
RBF_ONLY = variant("rbf_only", "PDM with RBF kernel only", pdm_kernel="rbf", weight_dmd=0.0, weight_gan=0.0)
NAIVE_ONLY = variant("naive_only", "Naive patch loss only", pdm_kernel="naive", weight_dmd=0.0, weight_gan=0.0)
HALF_WAY = (
    variant("full_25", "Full loss, half the iterations", iterations=25, profiles=MINI),
    variant("no_pdm_25", "Without PDM, half the iterations", iterations=25, weight_pdm=0.0, profiles=MINI),
)

OTHER_RATE = 8e-4
"""A quarter of the scale-wise students' own, and the own one of full-scale ones."""


def slower(row: Row) -> Row:
    """The same training at the other rate."""
    train = {**(row.train or {}), "lr": OTHER_RATE, "lr_fake": OTHER_RATE}
    return Row(f"{row.key}_slower", f"{row.label}, a quarter of the rate", train=train, profiles=MINI)


ROLES: tuple[Role, ...] = ("prompt_alignment", "fidelity", "distribution", "preference", "reward")
"""In these a claim is asked, one each in what a profile measures; pooling is said to hurt text agreement alone."""
SHORT: dict[Role, str] = {
    "prompt_alignment": "alignment",
    "fidelity": "fidelity",
    "distribution": "distance",
    "preference": "preference",
    "reward": "reward",
}
V1_5_7 = "v1, Tables 5 and 7"


def claims(
    key: str,
    text: str,
    check: Check,
    *,
    source: str = V1_5_7,
    statement: str = "",
    roles: tuple[Role, ...] = ROLES,
    primary: bool = True,
) -> tuple[Claim, ...]:
    """A claim in each of the roles; that of the check is replaced."""
    return tuple(
        Claim(
            f"{key}_{SHORT[role]}",
            text,
            in_role(check, role),
            source=source,
            primary=primary,
            statement=statement,
        )
        for role in roles
    )


def in_role(check: Check, role: Role) -> Check:
    """The same comparison in the metric of a role."""
    compare = better if check.kind == "better" else not_worse
    return compare(role, check.candidate, check.baseline)


def beats(candidate: Row, baseline: Row) -> Check:
    """The candidate is better."""
    return better("prompt_alignment", candidate.key, baseline.key)


def holds_up(candidate: Row, baseline: Row) -> Check:
    """The candidate is not worse."""
    return not_worse("prompt_alignment", candidate.key, baseline.key)


CLAIMS = (
    *claims("pdm", "The full loss is better than without PDM", beats(FULL, NO_PDM), statement="pdm_helps"),
    *claims(
        "pdm_alone",
        "PDM alone is not worse than the full loss",
        holds_up(PDM_ONLY, FULL),
        source="v2, Table 6",
        statement="pdm_alone",
    ),
    *claims(
        "rbf",
        "The RBF kernel is not worse than the linear one",
        holds_up(RBF, FULL),
        source="v2, Table 6",
        statement="kernels_alike",
    ),
    *claims(
        "linear",
        "The linear kernel is not worse than the RBF one",
        holds_up(FULL, RBF),
        source="v2, Table 6",
        statement="kernels_alike",
    ),
    *claims(
        "pooling",
        "PDM image by image follows captions better than over the whole batch",
        beats(FULL, POOLED),
        source="v2, Table 6",
        statement="pooling_hurts",
        roles=("prompt_alignment", "preference", "reward"),
    ),
    *claims(
        "noise",
        "Noise before the features is better than clean features",
        beats(FULL, CLEAN),
        source="v2, Table 6",
        statement="noise_helps",
    ),
    *claims(
        "progressive_half",
        "Scales that rise at every step are better than half the side until the last (6 % fewer tokens)",
        beats(FULL, HALF),
        source="v2, Table 9",
        statement="progressive",
    ),
    *claims(
        "progressive_quarter",
        "Scales that rise at every step are better than a quarter of the side until the last (45 % fewer tokens)",
        beats(FULL, QUARTER),
        source="v2, Table 9",
        statement="progressive",
    ),
    *claims(
        "pixels",
        "Downscaling in pixels is better than downscaling latents",
        beats(FULL, LATENTS),
        source="v1, section 4",
        statement="pixel_downscaling",
    ),
    *claims("shift", "Time shift is better than none", beats(FULL, NO_SHIFT), statement="time_shift"),
    *claims(
        "scalewise_training",
        "Training scale-wise is better than training at full scale, sampled alike",
        beats(FULL, FULLSCALE),
        statement="scalewise_training",
    ),
    *claims(
        "convergence",
        "After half the iterations, the full loss is better than without PDM",
        better("prompt_alignment", "full_25", "no_pdm_25"),
        source="v1, section 4",
        statement="pdm_converges",
    ),
)
NAIVE_CLAIMS = (
    *claims(
        "naive",
        "Beside DMD and GAN, PDM is better than the naive patch loss",
        beats(FULL, NAIVE),
        source="v1, Table 6",
        statement="naive_patch",
    ),
    *claims(
        "naive_alone",
        "Alone, PDM is better than the naive patch loss",
        beats(PDM_ONLY, NAIVE_ONLY),
        source="v1, Table 6",
        statement="naive_patch",
    ),
)
ROWS = (
    FULL,
    NO_PDM,
    PDM_ONLY,
    NO_DMD,
    NO_GAN,
    RBF,
    RBF_MEDIAN,
    POOLED,
    CLEAN,
    FAKE,
    *BLOCKS,
    NO_SHIFT,
    HALF,
    QUARTER,
    SPECTRUM,
    FULLSCALE,
    LATENTS,
    NEAREST,
    BILINEAR,
    FAKE_1,
    FAKE_5,
    BY_TEACHER,
    RANK_4,
    RANK_64,
    MIXED,
    *HALF_WAY,
)
SEEDS, FEW_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
NOTES = (
    "Every row is the first student with the one change that its label names: the same initial weights, images and "
    "noise of the same training seed, but where the change is of the data or of which images go together. Students "
    "that a claim rests on have five training seeds, the others three. Rates and iterations were tuned for the full "
    "loss; how far that matters: `python -m repro table5 --rates`.",
    "*Without time shift* cuts the same steps from a grid without shift, so losses draw from that grid too. *Trained "
    "at full scale* is the six-step student of Table 2 on the scale-wise schedule that it was not trained on. *A step "
    "drawn for every image*: batches hold all scales, and an update is the mean over them.",
)


def published(table: str, prompts: str) -> Reported:
    """v2's numbers of its ablations."""
    return Reported(
        csv="ablations_v2.csv",
        label=f"SD3.5 Medium at 6 steps, {table} of arXiv 2503.16397v2 (v1's own numbers were not recovered)",
        match={"source": "v2", "model": "SD3.5 Medium", "steps": "6", "prompts": prompts},
        columns=(
            Column("pickscore_x100", "PS x 100", better="higher", digits=1),
            Column("hpsv3", "HPSv3", better="higher", digits=1),
            Column("image_reward", "IR", better="higher", digits=2),
            Column("fid", "FID", better="lower", digits=1),
        ),
        profiles=MEDIUM,
        images=30_000,
        agreement={
            "pickscore_x100": Agreement(metric="pickscore", tolerance=NOISE["pickscore"], scale=100.0),
            "hpsv3": Agreement(metric="hpsv3", tolerance=0.3),
            "image_reward": Agreement(metric="image_reward", tolerance=NOISE["image_reward"]),
            "fid": Agreement(metric="fid", tolerance=NOISE["fid"]),
        },
        missing="Not recovered of v1, and v2 has no such row.",
    )
