"""From a row's differences to what is trained and sampled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro.harness.experiment import ExperimentError, Row, UnknownNameError
from repro.harness.files import ROOT
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.sampling import SamplingPlan
from repro.profiles import load_profile
from repro.profiles.mini import PROFILE
from repro.profiles.sd35_large import PROFILE as LARGE
from repro.stages.students import check_adapter, shipped_adapter, shipped_training
from repro.table2 import TABLE
from repro.table2_extended import EXTENDED
from repro.table3 import TABLE as TABLE3
from swd.grid import sigma_grid
from swd.schedule import ScaleSchedule, preset

PIPELINE = ROOT / PROFILE.weights.pipeline
STUDENTS = [row for row in TABLE.rows if row.is_student]
MINI_STUDENT: dict[str, Any] = {
    "objective": "distribution", "consistency_skip": 1, "consistency_distance": "huber", "consistency_huber_c": 1e-3,
    "consistency_decay": None,
    "preset": "mini-6", "scales": None, "boundaries": None, "iterations": 50, "batch_size": 24, "lr": 3.2e-3,
    "lr_fake": 3.2e-3, "lr_discriminator": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip_norm": 10.0,
    "warmup": 10, "weight_pdm": 1.0, "weight_dmd": 1.0, "weight_gan": 5e-3, "weight_gan_discriminator": 1e-2,
    "fake_updates": 2, "rank": 16, "alpha": 16.0, "guidance_scale": 4.0, "pdm_kernel": "linear", "pdm_huber_c": 1e-3,
    "pdm_bandwidth": 100.0, "pdm_bandwidth_rule": "fixed", "pdm_method": "auto", "pdm_pool_batch": False,
    "pdm_features": "teacher", "pdm_noise": True, "mixed_steps": False, "upscale": "bicubic", "downscale": "pixels",
    "diverged_above": 100.0,
    "feature_block": 1, "dmd_indices": [12, 28], "pdm_indices": [18, 28], "grid": None, "shift": 3.0,
    "grid_steps": 28,
    "sample_latents": False, "mixed_precision": "no", "micro_batch_size": None, "gradient_checkpointing": "auto",
    "share_student_pass": True, "share_fake_pass": True, "prefetch": True, "compile": False, "ema_decay": 0.98,
    "seed": 0, "checkpoint_every": 25, "keep_last": 2, "log_with": None, "progress": True,
}  # fmt: skip


def row(**changes: Any) -> Row:
    return Row("row", "Row", **changes)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("scalewise_6", {}),
        ("scalewise_4", {"preset": "mini-4"}),
        ("fullscale_6", {"preset": "mini-full-6", "lr": 8e-4, "lr_fake": 8e-4}),
        ("fullscale_4", {"preset": "mini-full-4", "lr": 8e-4, "lr_fake": 8e-4}),
        ("fullscale_2", {"preset": "mini-full-2", "lr": 8e-4, "lr_fake": 8e-4}),
    ],
)
def test_mini_students_are_trained_as_they_always_were(key: str, changes: dict[str, Any]) -> None:
    plan = resolve(PROFILE, TABLE.row(key))
    assert plan.training.as_json() == {**MINI_STUDENT, **changes}
    assert plan.sample.schedule == plan.training.schedule() == preset({**MINI_STUDENT, **changes}["preset"])
    assert not plan.sample.is_guided


def test_the_teacher_samples_as_the_profile_says() -> None:
    plan = resolve(PROFILE, TABLE.row("teacher"))
    with pytest.raises(ValueError, match="the teacher is not distilled"):
        _ = plan.training
    assert plan.sample == SamplingPlan(schedule=None, steps=28, guidance_scale=4.0, shift=3.0)
    assert (plan.sample.passes, plan.sample.ladder(32).scales) == (2, (32,) * 28)


def test_the_teacher_may_grow_on_its_own_steps_with_its_own_guidance() -> None:
    sample = resolve(PROFILE, EXTENDED.row("teacher_grow_2")).sample
    assert sample.ladder(32) == ScaleSchedule((16,) * 16 + (32,) * 12, sigma_grid(), "flow")
    assert (sample.grow, sample.passes, sample.guidance_scale) == ("spectral", 2, 4.0)
    assert sample.as_json()["grow"] == "spectral"
    assert "grow" not in resolve(PROFILE, TABLE.row("scalewise_6")).sample.as_json()  # finished images stay


def test_teachers_of_so_many_steps_stand_beside_one_of_as_many_only() -> None:
    """In a smoke run the teacher takes 4 steps; those of 14 to 28 would be no cheaper variants of it."""
    own = {row.key for row in EXTENDED.rows if row.is_teacher and row.sample}
    assert own == {"teacher_grow_2", "teacher_grow_3", "teacher_16", "teacher_14"}
    assert own <= {row.key for row in EXTENDED.rows_in("mini")}
    assert not own & {row.key for row in EXTENDED.rows_in("smoke")}


def test_growing_needs_a_schedule_and_a_known_way() -> None:
    options: dict[str, Any] = {"steps": 2, "guidance_scale": 1.0, "shift": 3.0}
    with pytest.raises(ValueError, match="growing by 'spectral' needs a schedule, got none"):
        SamplingPlan(schedule=None, grow="spectral", **options)
    with pytest.raises(ValueError, match="renoise, spectral, got 'sideways'"):
        SamplingPlan(schedule=ScaleSchedule((8, 16), (1.0, 0.5, 0.0)), grow="sideways", **options)


def test_table_3_times_the_teacher_with_and_without_guidance() -> None:
    passes = {key: resolve(PROFILE, TABLE3.row(key).row).sample.passes for key in ("teacher", "teacher_guided")}
    assert passes == {"teacher": 1, "teacher_guided": 2}


def test_a_student_may_sample_otherwise_than_it_was_trained() -> None:
    plan = resolve(PROFILE, row(train={"schedule": "full-6"}, sample={"schedule": "6"}))
    assert plan.train == resolve(PROFILE, TABLE.row("fullscale_6")).train  # one training, shared with Table 2
    assert plan.sample.schedule == preset("mini-6")


def test_rates_follow_the_schedule_that_is_trained() -> None:
    trained = resolve(PROFILE, row(train={"schedule": "6"}, sample={"schedule": "full-6"})).training
    assert (trained.lr, trained.preset) == (3.2e-3, "mini-6")


def test_a_row_changes_what_it_names_and_nothing_else() -> None:
    plan = resolve(PROFILE, row(train={"schedule": "6", "weight_pdm": 0.0}), seed=3)
    assert plan.training == replace(resolve(PROFILE, TABLE.row("scalewise_6"), seed=3).training, weight_pdm=0.0)
    assert resolve(PROFILE, row(train={"schedule": "6", "lr": 1e-5})).training.lr == 1e-5  # before the rate of its kind


def test_the_teacher_may_take_a_schedule_or_another_grid() -> None:
    few = resolve(PROFILE, row(sample={"schedule": "4", "guidance_scale": 2.0})).sample
    assert (few.schedule, few.guidance_scale, few.steps) == (preset("mini-4"), 2.0, 4)
    other = resolve(PROFILE, row(sample={"steps": 10, "shift": 1.0})).sample
    assert other.ladder(32).sigmas == sigma_grid(10, 1.0)


def test_large_is_medium_with_its_own_guidance_and_block() -> None:
    config = resolve(LARGE, TABLE.row("scalewise_6")).training
    assert (config.preset, config.guidance_scale, config.feature_block, config.batch_size) == ("sd35-6", 4.5, 20, 64)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"train": {"schedule": "6", "weight_pmd": 0}}, UnknownNameError, "train option of row row 'weight_pmd'.*_pdm"),
        ({"train": {"schedule": "6", "seed": 1}}, UnknownNameError, "'seed'"),
        ({"sample": {"guidance": 1.0}}, UnknownNameError, "sample option of row row 'guidance'.*guidance_scale"),
        ({"train": {"weight_pdm": 0.0}}, ValueError, "trains without a schedule"),
        ({"train": {"schedule": "6"}, "sample": {"steps": 4}}, ValueError, "belong to the teacher's grid"),
        ({"sample": {"schedule": "6", "shift": 4}}, ValueError, "belong to the teacher's grid"),
    ],
)
def test_a_declaration_with_unknown_options_does_not_load(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        row(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": {"schedule": "7"}}, "row row in profile mini: no preset 'mini-7'.*mini-6"),
        ({"train": {"schedule": "6"}, "sample": {"schedule": "full-9"}}, "no preset 'mini-full-9'"),
        ({"train": {"schedule": "6", "rank": 0}}, "row row in profile mini: rank must be at least 1"),
    ],
)
def test_what_a_profile_cannot_do_is_said_with_its_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        resolve(PROFILE, row(**options))


@pytest.mark.parametrize("profile", [PROFILE, load_profile("smoke")], ids=lambda profile: profile.name)
@pytest.mark.parametrize("student", STUDENTS, ids=lambda student: student.key)
def test_shipped_students_are_those_that_the_rows_ask_for(profile: Profile, student: Row) -> None:
    check_adapter(shipped_adapter(ROOT, profile, student), PIPELINE, shipped_training(profile, student))


def test_a_shipped_student_of_another_training_is_refused() -> None:
    other = row(train={"schedule": "6", "weight_pdm": 0.0}, variant="scalewise_6")
    folder: Path = shipped_adapter(ROOT, PROFILE, other)
    with pytest.raises(ExperimentError, match=r"trained otherwise: weight_pdm: 1.0 -> 0.0; distil it with --retrain"):
        check_adapter(folder, PIPELINE, shipped_training(PROFILE, other))
