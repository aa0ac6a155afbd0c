"""What Tables 5, 6 and 7 share: variants of the six-step student, each with one named change, and claims about them.

The paper's own numbers of these tables (v1) were not recovered; the nearest ones are v2's Tables 6 and 9.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from repro.harness.experiment import Agreement, Column, Reported, Role, Row
from repro.harness.published import NOISE
from repro.kinds.scores.declare import Claim, better, not_worse

MINI = ("mini", "smoke")
MEDIUM = ("sd35-medium",)
TUNED, OTHER_RATE = 3.2e-3, 8e-4
"""Learning rates in the mini world: the scale-wise students' own, and a quarter of it, which full-scale ones have."""


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


FULL = variant("full", "Full loss", "full loss")
FULL_SHORT = replace(FULL, reported={"setup": "scales 32,48,64,80,96,128"})  # as v2 calls it on COCO
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
    variant("block_0", "PDM and GAN read block 1 of 4, not 2", feature_block=0, profiles=MINI),
    variant("block_2", "PDM and GAN read block 3 of 4", feature_block=2, profiles=MINI),
    variant("block_3", "PDM and GAN read block 4 of 4", feature_block=3, profiles=MINI),
    variant("block_early", "PDM and GAN read block 5 of 24, not 12", feature_block=4, profiles=MEDIUM),
    variant("block_late", "PDM and GAN read block 20 of 24", feature_block=19, profiles=MEDIUM),
)
NO_SHIFT = variant("no_shift", "Without time shift: uniform noise levels", schedule="even-6", shift=1.0)
HALF = variant("half", "Half the side, then all", "scales 64,64,64,64,64,128", schedule="half-6")
QUARTER = variant("quarter", "A quarter of the side, then all", "scales 32,32,32,32,32,128", schedule="quarter-6")
SPECTRUM = variant("spectrum_6", "Scales from the spectrum", schedule="spectrum-6", profiles=MINI)
FULLSCALE = Row(
    "fullscale_trained",
    "Trained at full scale, sampled scale-wise",
    train={"schedule": "full-6"},
    sample={"schedule": "6"},
    variant="fullscale_6",
)
FULLSCALE_FAST = Row(
    "fullscale_fast",
    "The same at the rate of scale-wise ones",
    train={"schedule": "full-6", "lr": TUNED, "lr_fake": TUNED},
    sample={"schedule": "6"},
    profiles=MINI,
)
LATENTS = variant("latent_downscaling", "Latents downscaled, not pixels", downscale="latents")
NEAREST = variant("nearest", "Nearest upscaling", upscale="nearest")
BILINEAR = variant("bilinear", "Bilinear upscaling", upscale="bilinear")
FAKE_1 = variant("fake_1", "One fake update", fake_updates=1)
FAKE_5 = variant("fake_5", "Five fake updates", fake_updates=5, profiles=MINI)
BY_TEACHER = variant("teacher_data", "Trained on images of the teacher", data="teacher", profiles=MINI)
RANK_4 = variant("rank_4", "LoRA of rank 4", rank=4, alpha=4.0)
RANK_64 = variant("rank_64", "LoRA of rank 64", rank=64, alpha=64.0, profiles=MINI)
MIXED = variant("mixed_steps", "A step drawn for every image", mixed_steps=True)
FULL_HALF_WAY = variant("full_half_way", "Full loss, half the iterations", iterations=25, profiles=("mini",))
NAIVE = variant("naive", "Naive patch loss in place of PDM", pdm_kernel="naive")
RBF_ONLY = variant("rbf_only", "PDM with RBF kernel only", pdm_kernel="rbf", weight_dmd=0.0, weight_gan=0.0)
NAIVE_ONLY = variant("naive_only", "Naive patch loss only", pdm_kernel="naive", weight_dmd=0.0, weight_gan=0.0)


def slower(row: Row) -> Row:
    """The same training at the other rate."""
    train = {**(row.train or {}), "lr": OTHER_RATE, "lr_fake": OTHER_RATE}
    return Row(f"{row.key}_slower", f"{row.label}, a quarter of the rate", train=train, profiles=MINI)


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
    *claims("pdm", "The full loss is better than without PDM", "better", FULL, NO_PDM, statement="pdm_helps"),
    *claims(
        "pdm_alone",
        "PDM alone is not worse than the full loss",
        "not_worse",
        PDM_ONLY,
        FULL,
        source=V2_6,
        statement="pdm_alone",
    ),
    *claims(
        "rbf",
        "The RBF kernel (bandwidth 100, as published) is not worse than the linear one",
        "not_worse",
        RBF,
        FULL,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "linear",
        "The linear kernel is not worse than the RBF one (bandwidth 100)",
        "not_worse",
        FULL,
        RBF,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "rbf_median",
        "The RBF kernel (median bandwidth, which follows the features) is not worse than the linear one",
        "not_worse",
        RBF_MEDIAN,
        FULL,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "linear_median",
        "The linear kernel is not worse than the RBF one (median bandwidth)",
        "not_worse",
        FULL,
        RBF_MEDIAN,
        source=V2_6,
        statement="kernels_alike",
    ),
    *claims(
        "pooling",
        "PDM image by image follows captions better than over the whole batch",
        "better",
        FULL,
        POOLED,
        source=V2_6,
        statement="pooling_hurts",
        roles=OF_TEXT,
        primary=OF_TEXT,
    ),
    *claims(
        "noise",
        "Noise before the features is better than clean features",
        "better",
        FULL,
        CLEAN,
        source=V2_6,
        statement="noise_helps",
    ),
    *claims(
        "progressive_half",
        "Scales that rise at every step are better than half the side until the last (6 % fewer tokens)",
        "better",
        FULL,
        HALF,
        source=V2_9,
        statement="progressive",
    ),
    *claims(
        "progressive_quarter",
        "Scales that rise at every step are better than a quarter of the side until the last (45 % fewer tokens)",
        "better",
        FULL,
        QUARTER,
        source=V2_9,
        statement="progressive",
    ),
    *claims(
        "pixels",
        "Downscaling in pixels is better than downscaling latents",
        "better",
        FULL,
        LATENTS,
        source=V1_4,
        statement="pixel_downscaling",
    ),
    *claims("shift", "Time shift is better than none", "better", FULL, NO_SHIFT, statement="time_shift"),
    *claims(
        "scalewise_training",
        "Training scale-wise is better than training at full scale, sampled alike",
        "better",
        FULL,
        FULLSCALE,
        statement="scalewise_training",
    ),
    *claims(
        "convergence",
        "After half the iterations the full loss is not worse than without PDM after all of them",
        "not_worse",
        FULL_HALF_WAY,
        NO_PDM,
        source=V1_4,
        statement="pdm_converges",
    ),
)
NAIVE_CLAIMS = (
    *claims(
        "naive",
        "Beside DMD and GAN, PDM is better than the naive patch loss",
        "better",
        FULL,
        NAIVE,
        source="v1, Table 6",
        statement="naive_patch",
    ),
    *claims(
        "naive_alone",
        "Alone, PDM is better than the naive patch loss",
        "better",
        PDM_ONLY,
        NAIVE_ONLY,
        source="v1, Table 6",
        statement="naive_patch",
    ),
)
OTHERS = (
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
    FULLSCALE_FAST,
    LATENTS,
    NEAREST,
    BILINEAR,
    FAKE_1,
    FAKE_5,
    BY_TEACHER,
    RANK_4,
    RANK_64,
    MIXED,
    FULL_HALF_WAY,
)
SEEDS, FEW_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
NOTES = (
    "Every row is the first student with the one change that its label names: the same initial weights, images and "
    "noise of the same training seed. What a change is of cannot be shared: the initial weights of another rank, the "
    "images of other data, and with another number of fake updates the student reads other images. Students that a "
    "primary claim rests on have five training seeds, the others three. Each term of the loss keeps its weight of "
    "1 (DMD, and PDM or what stands in its place) and 0.005 (GAN).",
    "Rates and iterations were tuned for the full loss, and apart for students at full scale, which have a quarter of "
    "the rate: so has *trained at full scale*, and the row below it has the other. What a rate matters for PDM is on "
    "[a page of its own](table5_rates.md), what iterations do is in [training dynamics](training_dynamics.md). Every "
    "student is the running average of its weights, which after half the iterations is still for 60 % the start's.",
    "*Without time shift* samples at noise levels as even as the grid allows; the losses keep their levels. *A step "
    "drawn for every image*: batches hold all scales, and an update is the mean over them. *Latents downscaled*: areas "
    "of the full latent are averaged. The median bandwidth is that of the targets' tokens of each batch "
    "([all of this](../docs/decisions/ablations.md)).",
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
        missing="No number of this row on these prompts in v2.",
        lost="v1",
    )
