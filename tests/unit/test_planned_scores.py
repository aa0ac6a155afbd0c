"""The plan of a table of scores, on the published architectures and a data folder that is empty."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from repro import load_experiment
from repro.harness.experiment import Row
from repro.harness.profile import Profile
from repro.harness.systems import HubFile
from repro.harness.work_plan import Plan, RowPlan, text
from repro.kinds.scores.counts import row_cost
from repro.kinds.scores.declare import Table
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.planned import planned
from repro.profiles import load_profile

IMAGES = 2 * 30_000 + 4 * 553 + 4 * 500  # COCO and MJHQ, GenEval, diversity
ASKED = ("teacher", "scalewise_6", "scalewise_4", "fullscale_2")


def table(key: str) -> Table:
    found = load_experiment(key)
    assert isinstance(found, Table)
    return found


def rows_of(of: Table, profile: Profile, *keys: str) -> tuple[Row, ...]:
    declared = {row.key: row for row in of.rows_in(profile.name)}
    return tuple(declared.get(key) or Row(key, key, images=True) for key in keys)


@pytest.fixture
def medium(tmp_path: Path) -> Profile:
    real = load_profile("sd35-medium")
    return replace(real, data=replace(real.data, folder=str(tmp_path / "data")))


@pytest.fixture
def options(tmp_path: Path) -> ScoresOptions:
    command = "python -m repro table2 --profile sd35-medium --dry-run --num-prompts 9"
    return ScoresOptions(out=tmp_path / "out", work=tmp_path / "not" / "yet", device="cpu", command=command, rows=ASKED)


def made(profile: Profile, options: ScoresOptions, *keys: str, of: str = "table2") -> tuple[Plan, dict[str, RowPlan]]:
    found = planned(table(of), rows_of(table(of), profile, *keys), profile, options)
    return found, {row.key: row for row in found.rows}


def test_rows_are_counted_as_they_are_sampled(medium: Profile, options: ScoresOptions) -> None:
    plan, rows = made(medium, options, *ASKED)
    assert list(rows) == list(ASKED)
    assert {row.images for row in plan.rows} == {IMAGES}
    assert (rows["teacher"].steps, rows["teacher"].model) == (40, "stabilityai/stable-diffusion-3.5-medium")
    assert (rows["scalewise_4"].steps, rows["scalewise_4"].model) == (4, "yresearch/swd-medium-4-steps")
    declared = rows_of(table("table2"), medium, "teacher", "scalewise_4")
    for row in declared:
        cost = row_cost(medium, row, options)
        assert cost is not None
        assert (rows[row.key].flops, rows[row.key].memory_bytes) == (cost.flops, cost.memory_bytes)
    assert plan.measured == [rows[key] for key in ASKED[:3]]
    assert "no such student was released for SD3.5 Medium" in rows["fullscale_2"].skipped
    assert rows["fullscale_2"].flops is None


def test_seeds_multiply_images_of_students_alone(medium: Profile, options: ScoresOptions) -> None:
    _, rows = made(medium, replace(options, seeds=(0, 1, 2)), "scalewise_4", "teacher")
    assert rows["scalewise_4"].images == 3 * IMAGES
    assert rows["teacher"].images == IMAGES
    mini = load_profile("mini")
    _, rows = made(mini, replace(options, seeds=(0, 1, 2)), "real", "real_decoded", "fullscale_2")
    assert [rows[key].images for key in ("real", "real_decoded", "fullscale_2")] == [500, 500, 1_500]


def test_a_model_of_several_rows_is_named_once_with_terms_and_command(medium: Profile, options: ScoresOptions) -> None:
    plan, _ = made(medium, options, *ASKED)
    (base,) = [need for need in plan.needs if need.name == "stabilityai/stable-diffusion-3.5-medium"]
    assert base.why == "rows teacher, scalewise_6, scalewise_4"
    assert base.command.startswith("hf download stabilityai/stable-diffusion-3.5-medium --include model_index.json")
    assert "accept it on the page of the model" in base.terms
    assert base.missing
    (student,) = [need for need in plan.needs if need.name == "yresearch/swd-medium-6-steps"]
    assert (student.why, student.terms) == ("row scalewise_6", "")
    assert not [need for need in plan.needs if "fullscale" in need.why]
    assert {need.why for need in plan.needs} > {"prompts coco", "FID on mjhq", "metric geneval"}  # of the world


def test_a_pinned_revision_is_in_the_command(medium: Profile, options: ScoresOptions) -> None:
    pinned = replace(medium, weights=replace(medium.weights, revision="abc"))
    plan, _ = made(pinned, options, "teacher")
    assert plan.needs[0].command.startswith("hf download stabilityai/stable-diffusion-3.5-medium --revision abc ")


def test_of_a_pipeline_its_folders_are_downloaded_in_the_variant_that_is_read(
    medium: Profile, options: ScoresOptions
) -> None:
    plan, _ = made(medium, options, "dmd2_sdxl", of="table4")
    commands = {need.name: need.command for need in plan.needs}
    assert "--include '*/*model.fp16.safetensors'" in commands["stabilityai/stable-diffusion-xl-base-1.0"]
    assert commands["tianweiy/DMD2/dmd2_sdxl_4step_unet_fp16.bin"].endswith("--include dmd2_sdxl_4step_unet_fp16.bin")


def test_folders_cost_nothing_and_need_nothing(medium: Profile, options: ScoresOptions, tmp_path: Path) -> None:
    given = replace(options, images={"theirs": tmp_path}, adapters={"scalewise_4": tmp_path / "mine"})
    plan, rows = made(medium, given, "theirs", "scalewise_4")
    theirs = rows["theirs"]
    assert (theirs.model, theirs.flops, theirs.disk_bytes, theirs.skipped) == (str(tmp_path), None, 0, "")
    assert rows["scalewise_4"].model == str(tmp_path / "mine")
    assert not [need for need in plan.needs if "theirs" in need.why or "yresearch" in need.name]


def test_nothing_is_made_and_the_disk_is_that_of_the_work_folder(
    medium: Profile, options: ScoresOptions, tmp_path: Path
) -> None:
    plan, _ = made(medium, options, "teacher")
    assert plan.command == "python -m repro table2 --profile sd35-medium --num-prompts 9"
    assert plan.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert not list(tmp_path.iterdir())


def test_systems_of_table_4_bring_their_own_models_and_licences(medium: Profile, options: ScoresOptions) -> None:
    plan, rows = made(medium, options, "sdxl_turbo", "switti", of="table4")
    assert (rows["sdxl_turbo"].side, rows["sdxl_turbo"].steps) == (
        512,
        4,
    )  # its own size, and one of its card's settings
    assert "--images switti=DIR" in rows["switti"].skipped
    (need,) = [need for need in plan.needs if need.why == "row sdxl_turbo"]
    assert need.name == str(HubFile("stabilityai/sdxl-turbo"))
    assert need.terms == "Stability AI Non-Commercial Research Community License"


@pytest.mark.slow
def test_ablations_of_a_real_model_are_planned_with_their_trainings(
    medium: Profile, options: ScoresOptions, tmp_path: Path
) -> None:
    medium = table("table5").in_profile(medium)
    plan, rows = made(medium, options, "teacher", "full", "no_pdm", "pdm_only", of="table5")
    assert rows["no_pdm"].training == "--preset sd35-6 --weight-pdm 0.0 --mixed-precision bf16"
    assert rows["full"].training_flops > rows["no_pdm"].training_flops > rows["pdm_only"].training_flops > 0
    assert (rows["teacher"].training, rows["teacher"].training_flops) == ("", 0)
    assert " hours on 8 GPUs** at 125 TFLOP/s" in text(plan)
    given = made(medium, replace(options, adapters={"full": tmp_path}), "full", of="table5")[1]
    assert given["full"].training == ""
