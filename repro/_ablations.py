"""What Tables 5, 6 and 7 share: variants of the six-step student, each with one named change.

The paper's own numbers of these tables (v1) were not recovered; the nearest ones are v2's Tables 6 and 9.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from repro.harness.experiment import Column, Row
from repro.harness.published import NOISE
from repro.harness.reported import Agreement, Reported

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
