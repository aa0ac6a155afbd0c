"""The plan as text: what is counted, what is missing, and the command for each missing thing."""

from dataclasses import replace

import pytest

from repro.harness.needs import BYTES_PER_PIXEL, Need, PromptPlan
from repro.harness.work_plan import GIB, Plan, RowPlan, text

TEACHER = RowPlan(
    key="teacher",
    label="Teacher",
    model="stabilityai/base",
    steps=28,
    images=1_000,
    flops=360 * 10**12,
    memory_bytes=20 * GIB,
    side=1024,
)
STUDENT = replace(TEACHER, key="ours", label="SwD", steps=4, flops=36 * 10**12, memory_bytes=24 * GIB)
FOLDER = replace(TEACHER, key="theirs", label="Switti", model="/images", steps=None, flops=None, memory_bytes=None)
ABSENT = replace(TEACHER, key="none", label="None", flops=None, memory_bytes=90 * GIB, skipped="no such student.")
BASE = Need(name="stabilityai/base", why="row teacher", command="hf download stabilityai/base", missing=True)


def plan(*rows: RowPlan, needs: tuple[Need, ...] = (), **changes: object) -> Plan:
    return replace(
        Plan(
            title="Table 2",
            profile="In profile `p`: real.",
            command="python -m repro table2",
            rows=rows,
            prompts=(PromptPlan(key="coco", images=30_000, source="coco.csv", reference="nothing"),),
            needs=needs,
            tflops=100.0,
            free_bytes=100 * GIB,
        ),
        **changes,  # type: ignore[arg-type]
    )


def cells(written: str, start: str) -> list[str]:
    """Of the one line of a table that starts so."""
    (line,) = [line for line in written.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_gpu_hour_is_flops_of_all_images_over_the_speed() -> None:
    assert TEACHER.gpu_hours(tflops=100.0) == pytest.approx(360 / 100 * 1_000 / 3600)  # one hour
    assert TEACHER.gpu_hours(tflops=200.0) == pytest.approx(0.5)
    assert FOLDER.gpu_hours(tflops=100.0) == 0
    assert TEACHER.disk_bytes == 1_000 * 1024**2 * BYTES_PER_PIXEL["png"]
    smaller = replace(TEACHER, encoding="webp").disk_bytes
    assert smaller == 1_000 * 1024**2 * BYTES_PER_PIXEL["webp"] < TEACHER.disk_bytes
    assert FOLDER.disk_bytes == 0  # they are there already


def test_the_summary_adds_up_what_is_measured_alone() -> None:
    written = text(plan(TEACHER, STUDENT, FOLDER, ABSENT))
    assert "3,000 images, 1.1 GPU-hours of sampling at 100 TFLOP/s" in written
    assert "up to 24.0 GiB on a GPU" in written  # not the 90 of the row that is left out
    assert "- **Missing**: nothing." in written
    assert "Nothing was done; this does it: `python -m repro table2`" in written


def test_a_row_is_a_line_and_one_that_is_left_out_a_reason() -> None:
    written = text(plan(TEACHER, FOLDER, ABSENT))
    assert cells(written, "`teacher`") == [
        "`teacher`",
        "Teacher",
        "stabilityai/base",
        "28",
        "360.0",
        "1,000",
        "1.0",
        "20.0",
        "2",
    ]
    assert cells(written, "`theirs`")[3:] == ["\u2014", "\u2014", "1,000", "\u2014", "\u2014", "0"]
    assert "- `none` is left out: no such student." in written
    assert "| `none`" not in written


@pytest.mark.parametrize(("free", "warned"), [(100 * GIB, False), (2 * GIB, True)])
def test_too_small_a_disk_is_said(free: int, warned: bool) -> None:
    written = text(plan(TEACHER, STUDENT, free_bytes=free))
    assert f"about 3 GiB of images, {free // GIB} GiB are free" in written
    assert ("**too little**" in written) is warned


def test_what_several_need_is_one_line_with_one_command() -> None:
    metric = replace(BASE, why="metric clipscore", terms="MIT")
    other = Need(name="coco.csv", why="prompts coco", command="curl -O coco.csv", terms="CC BY 4.0", missing=True)
    there = Need(name="inception.pth", why="metric fid", command="curl -O inception.pth")
    written = text(plan(TEACHER, needs=(BASE, metric, other, there)))
    assert "- **Missing**: 2 files and models, listed below." in written
    assert cells(written, "stabilityai/base") == ["stabilityai/base", "row teacher; metric clipscore", "MIT"]
    assert cells(written, "coco.csv")[2] == "CC BY 4.0"
    assert "```sh\nhf download stabilityai/base\ncurl -O coco.csv\n```" in written
    assert "On this machine: inception.pth." in written
    assert "curl -O inception.pth" not in written


def test_unknown_terms_are_not_called_free() -> None:
    written = text(plan(TEACHER, needs=(BASE,)))
    assert cells(written, "stabilityai/base")[2] == "not recorded here: see the page of the model"


def test_sets_of_prompts_say_what_they_are_compared_with() -> None:
    assert cells(text(plan(TEACHER)), "coco") == ["coco", "30,000", "coco.csv", "nothing"]


def test_students_that_nobody_gave_have_options_and_hours_on_eight_gpus() -> None:
    absent = replace(ABSENT, training="--preset sd35-6 --weight-pdm 0.0", training_flops=2_880 * 10**15)
    written = text(plan(TEACHER, absent))
    section = written.split("## Students to train")[1].split("\n## ")[0]
    assert "A student to be trained first" in section
    assert "8 GPU-hours, **1.0 hours on 8 GPUs** at 100 TFLOP/s" in section
    assert cells(section, "`none`") == ["`none`", "None", "`--preset sd35-6 --weight-pdm 0.0`", "8.0", "1.0"]
    assert "2 students to be trained" in text(plan(absent, replace(absent, key="other")))
    assert "## Students" not in text(plan(TEACHER, ABSENT))
