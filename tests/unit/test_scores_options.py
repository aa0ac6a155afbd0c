"""What may be typed for a table of scores, and which rows can then be measured."""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import pytest

from repro import load_experiment
from repro.harness.experiment import ExperimentError, Row
from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.systems import HubFile, System
from repro.kinds.scores.available import system_of, unavailable
from repro.kinds.scores.declare import Table
from repro.kinds.scores.options import ScoresOptions, add_arguments, choose_profile, make_options
from repro.profiles import load_profile

MEDIUM = load_profile("sd35-medium")


def table(key: str) -> Table:
    found = load_experiment(key)
    assert isinstance(found, Table)
    return found


TABLE2, TABLE4 = table("table2"), table("table4")


def options(
    tmp_path: Path, *words: str, of: Table = TABLE2, profile: Profile = MEDIUM, committed: bool = False
) -> ScoresOptions:
    parser = ArgumentParser()
    parser.add_argument("--retrain", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--profile", default=profile.name)
    add_arguments(parser)
    typed = parser.parse_args(words)
    common = RunOptions(out=tmp_path, work=tmp_path, device="cpu", command="", committed=committed)
    return make_options(of, choose_profile(of, typed, load_profile), typed, common)


def row(key: str, of: Table = TABLE2) -> Row:
    return next(row for row in of.rows_in(MEDIUM.name) if row.key == key)


def test_rows_are_the_table_s_and_those_of_further_images(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    declared = tuple(row.key for row in TABLE2.rows_in(MEDIUM.name))
    found = options(tmp_path, "--images", f"ours={tmp_path}/ours")
    assert found.rows == (*declared, "ours")
    assert found.images == {"ours": (tmp_path / "ours").resolve()}
    assert options(tmp_path, "--rows", "scalewise_4", "teacher").rows == ("scalewise_4", "teacher")


def test_a_folder_of_adapters_serves_the_rows_it_holds_and_one_by_name_goes_before(tmp_path: Path) -> None:
    for name in ("all/fullscale_6", "all/scalewise_4", "mine"):
        (tmp_path / name).mkdir(parents=True)
    found = options(tmp_path, "--adapters", f"{tmp_path}/all", f"scalewise_4={tmp_path}/mine").adapters
    assert found["fullscale_6"] == tmp_path / "all" / "fullscale_6"
    assert found["scalewise_4"] == tmp_path / "mine"
    assert set(found) == {"fullscale_6", "scalewise_4"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "scalewise_5"], r"row of table2.*'scalewise_5'.*scalewise_"),
        (["--images", "ours=nowhere"], "--images: nowhere is no folder"),
        (["--images", "scalewise4=."], "--images: table2 has no row 'scalewise4'; did you mean scalewise_4"),
        (["--images", "Teacher=."], "--images: table2 has no row 'Teacher'; did you mean teacher"),
        (["--images", "nowhere"], "--images takes NAME=PATH, got 'nowhere'"),
        (["--images", "a=x", "a=y"], "--images names a twice"),
        (["--adapters", "scalewise_4=nowhere"], "--adapters: nowhere is no folder"),
        (["--adapters", "teacher=nowhere"], "student.*'teacher'"),
        (["--adapters", "nowhere"], "--adapters: nowhere is no folder"),
        (["--tflops", "0"], "--tflops must be positive, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        options(tmp_path, *words)


def test_a_folder_without_any_row_s_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no folder of a row; expected one of teacher, scalewise_6"):
        options(tmp_path, "--adapters", str(tmp_path))


def test_a_row_has_an_adapter_or_images_not_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"row scalewise_4 has an adapter, .*, and images, .*: name one"):
        options(tmp_path, "--adapters", f"scalewise_4={tmp_path}", "--images", f"scalewise_4={tmp_path}")


@pytest.mark.parametrize(
    "words",
    [
        ["--rows", "teacher"],
        ["--num-prompts", "8"],
        ["--without", "fid"],
        ["--pipeline", "somebody/model"],
        ["--dtype", "float32"],
        ["--vae", "tiny"],
        ["--scorer", "fid=somebody/weights"],
        ["--external", "pickscore=program {requests} {results}"],
        ["--backend", "official"],
        ["--adapters", "scalewise_4={here}"],
        ["--images", "ours={here}"],
    ],
)
def test_another_table_than_the_profile_s_is_not_committed_but_may_be_planned(words: list[str], tmp_path: Path) -> None:
    typed = [word.format(here=tmp_path, requests="{requests}", results="{results}") for word in words]
    with pytest.raises(UsageError, match=rf"with {words[0]} this .*sd35-medium.* not belong into paper_tables; choose"):
        options(tmp_path, *typed, committed=True)
    assert options(tmp_path, *typed, "--dry-run", committed=True).rows
    assert options(tmp_path, *typed).rows


def test_what_changes_no_number_may_be_committed(tmp_path: Path) -> None:
    words = ["--batch-size", "3", "--data", str(tmp_path), "--revision", "abc", "--tflops", "9"]
    assert options(tmp_path, *words, committed=True).rows


def test_what_cannot_be_measured_says_what_to_do(tmp_path: Path) -> None:
    typed = options(tmp_path, of=TABLE4)
    assert unavailable(MEDIUM, row("sd35_medium", TABLE4), typed) == ""
    assert "--images switti=DIR" in unavailable(MEDIUM, row("switti", TABLE4), typed)
    reason = unavailable(MEDIUM, row("dmd2_pdm_medium", TABLE4), typed)
    assert "no such student was released for SD3.5 Medium" in reason
    assert "preset sd35-full-6" in reason
    assert "--adapters dmd2_pdm_medium=DIR" in reason


def test_images_and_adapters_make_a_row_measurable(tmp_path: Path) -> None:
    typed = replace(options(tmp_path, of=TABLE4), images={"switti": tmp_path}, adapters={"dmd2_pdm_medium": tmp_path})
    assert unavailable(MEDIUM, row("switti", TABLE4), typed) == ""
    student = row("dmd2_pdm_medium", TABLE4)
    assert unavailable(MEDIUM, student, typed) == ""
    assert system_of(MEDIUM, student, typed).student == HubFile(str(tmp_path))


def test_teacher_and_students_are_sampled_as_the_profile_says(tmp_path: Path) -> None:
    typed = options(tmp_path)
    teacher = system_of(MEDIUM, row("teacher"), typed)
    assert (teacher.steps, teacher.guidance_scale, teacher.student) == (40, 4.5, None)
    assert teacher.base == HubFile("stabilityai/stable-diffusion-3.5-medium")
    student = system_of(MEDIUM, row("scalewise_4"), typed)
    assert (student.steps, student.student) == (4, HubFile("yresearch/swd-medium-4-steps"))
    with pytest.raises(ExperimentError, match="row fullscale_2: no such student was released"):
        system_of(MEDIUM, row("fullscale_2"), typed)


def test_batches_of_the_clock_are_typed_where_there_is_a_clock(tmp_path: Path) -> None:
    assert options(tmp_path, of=TABLE4).clock_batch is None
    assert options(tmp_path, "--clock-batch", "2", of=TABLE4).clock_batch == 2
    with pytest.raises(UsageError, match="--clock-batch 0: table4 times batches of at least 1 image"):
        options(tmp_path, "--clock-batch", "0", of=TABLE4)
    with pytest.raises(UsageError, match="--clock-batch 2: table2 times nothing"):
        options(tmp_path, "--clock-batch", "2", of=TABLE2)


SDXL_REPO = "stabilityai/stable-diffusion-xl-base-1.0"


def typed_system(tmp_path: Path, key: str, *words: str, profile: Profile = MEDIUM) -> System:
    """How a row of Table 4 is sampled after these words."""
    parser = ArgumentParser()
    parser.add_argument("--profile", default=profile.name)
    add_arguments(parser)
    found = choose_profile(TABLE4, parser.parse_args(words), load_profile)
    return system_of(found, TABLE4.row(key), options(tmp_path, of=TABLE4, profile=profile))


def test_another_base_is_that_of_every_system_on_it(tmp_path: Path) -> None:
    base = HubFile("my/base")
    assert typed_system(tmp_path, "sd35_medium", "--pipeline", "my/base").base == base
    student = typed_system(tmp_path, "swd_medium_6", "--pipeline", "my/base", "--revision", "abc")
    assert student.base == replace(base, revision="abc")
    assert student.student == HubFile("yresearch/swd-medium-6-steps")
    for other in ("sd35_large", "sd35_medium_turbo", "sdxl"):  # they stand on models of their own
        assert typed_system(tmp_path, other, "--pipeline", "my/base") == TABLE4.row(other).system


def test_a_folder_in_place_of_a_base_keeps_the_variant_only_where_it_has_it(tmp_path: Path) -> None:
    sdxl, folder = load_profile("sdxl"), tmp_path / "base"
    (folder / "unet").mkdir(parents=True)
    words = ("--pipeline", str(folder))
    assert typed_system(tmp_path, "dmd2_sdxl", profile=sdxl).variant == "fp16"
    assert typed_system(tmp_path, "dmd2_sdxl", *words, profile=sdxl).variant is None
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").touch()
    assert typed_system(tmp_path, "dmd2_sdxl", *words, profile=sdxl).variant == "fp16"


def test_a_revision_pins_the_base_or_any_model_by_its_name(tmp_path: Path) -> None:
    assert typed_system(tmp_path, "sd35_medium", "--revision", "abc").base.revision == "abc"
    assert typed_system(tmp_path, "sdxl", "--revision", "abc").base.revision is None  # no base of this profile
    words = ("--revision", "abc", f"{SDXL_REPO}=x1", "tianweiy/DMD2=x2", "yresearch/swd-medium-6-steps=x3")
    dmd2 = typed_system(tmp_path, "dmd2_sdxl", *words)
    assert dmd2.network is not None
    assert (dmd2.base.revision, dmd2.network.revision) == ("x1", "x2")
    student = typed_system(tmp_path, "swd_medium_6", *words)
    assert student.student is not None
    assert (student.base.revision, student.student.revision) == ("abc", "x3")
    same = typed_system(tmp_path, "sd35_medium", "--revision", "stabilityai/stable-diffusion-3.5-medium=abc")
    assert same.base.revision == "abc"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["someone/else=abc"], "--revision: someone/else is no model of this table; known are stabilityai/"),
        (["abc", "def"], "--revision takes one of the base model, got abc and def"),
        (["yresearch/swd-sdxl="], "--revision takes NAME=REV, got 'yresearch/swd-sdxl='"),
        (["abc", "stabilityai/stable-diffusion-3.5-medium=x"], r"names stabilityai/.*-medium twice: abc and x"),
    ],
)
def test_a_revision_of_nothing_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        options(tmp_path, "--revision", *words, of=TABLE4)


def test_a_table_over_seeds_distils_all_of_them_unless_others_are_typed(tmp_path: Path) -> None:
    mini, over = load_profile("mini"), table("table2_seeds")
    found = options(tmp_path, of=over, profile=mini)
    assert (found.seeds, found.retrain) == ((0, 1, 2, 3, 4), True)
    typed = options(tmp_path, "--retrain", "--seeds", "7", "8", of=over, profile=mini)
    assert (typed.seeds, typed.retrain) == ((7, 8), True)
    assert options(tmp_path, profile=mini).retrain is False


def test_published_models_are_not_distilled_over_seeds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="table2_seeds distils the students of worlds that ship"):
        options(tmp_path, of=table("table2_seeds"))


def test_records_of_students_that_do_not_ship_stand_unless_something_is_asked(tmp_path: Path) -> None:
    mini, ablations = load_profile("mini"), table("table5")
    assert options(tmp_path, of=ablations, profile=mini).keep
    assert not options(tmp_path, of=TABLE2, profile=mini).keep
    for typed in (["--retrain"], ["--retrain", "--seeds", "7"], ["--rows", "teacher"], ["--replace"]):
        assert not options(tmp_path, *typed, of=ablations, profile=mini).keep
    real = options(tmp_path, of=ablations)
    assert (real.keep, real.retrain, real.seeds) == (False, False, (0,))
