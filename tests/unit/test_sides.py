"""Rows at a share of the side: what is sampled, what it costs, what is refused, and that no other row changed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from repro.figure4 import TABLE
from repro.harness.experiment import ExperimentError, Row, UnknownNameError
from repro.harness.files import ROOT, digest_json
from repro.harness.plan import network_folder, pixels_of, resolve, side_of
from repro.harness.sampling import SamplingPlan
from repro.kinds.scores.available import system_of, unavailable
from repro.kinds.scores.counts import Skeleton, network_cost
from repro.kinds.scores.declare import SideCurve, Table
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.teachers import teacher_of
from repro.profiles import load_profile, smoke
from repro.profiles.mini import PROFILE
from repro.stages.sampling import draw
from repro.table2 import TABLE as TABLE2
from repro.table2_extended import EXTENDED
from repro.table4 import TABLE as TABLE4
from swd.flow import FlowMatching
from swd.grid import TeacherGrid, sigma_grid
from swd.sampler import sample, sample_teacher
from swd.schedule import ScaleSchedule, preset

SIX = preset("mini-6")
QUARTER = {"share": 1 / 4}
# Of every row of these tables before there were shares: finished images are known by them.
SAMPLING_DIGEST = "0cc640311abca497971694a89cbda9af2e2350b1a0ebd8fa93954d9e8fecc950"


class Shrink:
    """x0 = x_t / 2: no network, so that what is sampled itself can be seen."""

    latent_channels, patch_size, process, grid = 3, 2, FlowMatching(), TeacherGrid()

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: object) -> torch.Tensor:
        return x_t / 2


COND: Any = torch.zeros(1)


def row(**changes: Any) -> Row:
    return Row("row", "Row", **changes)


@pytest.fixture
def options(tmp_path: Path) -> ScoresOptions:
    return ScoresOptions(out=tmp_path, work=tmp_path, command="")


def test_what_older_rows_sample_is_written_as_it_always_was() -> None:
    rows = [row for table in (TABLE2, EXTENDED, TABLE4) for row in table.rows_in("mini") if not row.real]
    found = {row.key: resolve(PROFILE, row).sample.as_json() for row in rows}
    assert found["teacher"] == {"steps": 28, "guidance": 4.0, "shift": 3.0}
    assert found["scalewise_6"].keys() == {"scales", "sigmas"}
    assert digest_json(found) == SAMPLING_DIGEST


def test_a_schedule_until_a_side_ends_with_its_last_step_there() -> None:
    assert SIX.until(16) == ScaleSchedule((8, 12, 16), (*SIX.sigmas[:3], 0.0), SIX.process)
    assert SIX.until(32) == SIX
    assert preset("mini-half-6").until(16).num_steps == 5
    assert ScaleSchedule((4, 8), (1.0, 0.5, 0.0), upscale="nearest").until(4).upscale == "nearest"
    with pytest.raises(ValueError, match=r"scales \(8, 12, 16, 20, 24, 32\) has no step at scale 10"):
        SIX.until(10)


def test_an_early_image_is_x0_of_that_step_of_the_whole_run() -> None:
    whole: list[torch.Tensor] = []
    sample(Shrink(), SIX, COND, [3, 4], on_step=lambda step, x_t, x0: whole.append(x0))
    for step, side in enumerate(SIX.scales):
        torch.testing.assert_close(sample(Shrink(), SIX.until(side), COND, [3, 4]), whole[step], rtol=0, atol=0)


def test_a_student_at_a_share_stops_after_its_step_there() -> None:
    early = row(train={"schedule": "6"}, sample={"share": 3 / 8})
    plan = resolve(PROFILE, early)
    assert plan.sample.schedule == SIX.until(12)
    assert (plan.sample.steps, side_of(PROFILE, early), pixels_of(PROFILE, early)) == (2, 12, 24)
    assert plan.train == resolve(PROFILE, TABLE2.row("scalewise_6")).train  # it is the same student
    assert resolve(PROFILE, row(train={"schedule": "6"}, sample={"share": 1})).sample.schedule == SIX


def test_the_teacher_at_a_share_stays_at_that_side() -> None:
    plan = resolve(PROFILE, row(sample=QUARTER)).sample
    assert plan.ladder(32) == ScaleSchedule((8,) * 28, sigma_grid(28, 3.0))
    assert plan.as_json() == {"steps": 28, "guidance": 4.0, "shift": 3.0, "side": 8}
    assert resolve(PROFILE, row(sample={"share": 1.0})) == resolve(PROFILE, TABLE2.row("teacher"))
    drawn = draw(
        SamplingPlan(schedule=None, steps=3, guidance_scale=1.0, shift=3.0, side=8), Shrink(), COND, None, [5], side=32
    )
    expected = sample_teacher(Shrink(), COND, None, [5], side=8, num_steps=3, shift=3.0)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0)


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_outside_the_side_does_not_load(share: float) -> None:
    with pytest.raises(ValueError, match=rf"row row samples at a share of the side in \(0, 1\], got {float(share)}"):
        row(sample={"share": share})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample": {"share": 0.3}}, r"in profile mini: a share 0.3 of the latent side 32 is 9.6, expected a whole"),
        (
            {"train": {"schedule": "4"}, "sample": QUARTER},
            r"in profile mini: a schedule of scales \(16, 20, 24, 32\) has no step at scale 8",
        ),
        ({"network": "single_sid"}, "in profile mini: unknown network 'single_sid'; did you mean single_side"),
    ],
)
def test_what_a_profile_does_not_have_is_said_before_any_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=f"row row {message}"):
        resolve(PROFILE, row(**changes))


def test_only_the_teacher_has_another_network() -> None:
    with pytest.raises(ValueError, match="row row names network 'single_side', but is not the teacher"):
        row(train={"schedule": "6"}, network="single_side")
    other = row(network="single_side")
    assert (ROOT / network_folder(PROFILE, other) / "config.json").is_file()
    assert network_folder(PROFILE, TABLE2.row("teacher")) == ""


def test_a_side_is_one_of_the_teachers_grid() -> None:
    with pytest.raises(UnknownNameError, match="sample option of row row 'side'"):
        row(sample={"side": 8})
    settings: dict[str, Any] = {"guidance_scale": 1.0, "shift": 3.0}
    with pytest.raises(ValueError, match=r"got 8 beside a schedule of scales \(8, 12"):
        SamplingPlan(schedule=SIX, steps=6, side=8, **settings)
    with pytest.raises(ValueError, match="positive, got 0"):
        SamplingPlan(schedule=None, steps=6, side=0, **settings)


def test_a_student_that_has_no_step_there_is_left_out_with_the_reason(options: ScoresOptions) -> None:
    early = row(train={"schedule": "4"}, sample=QUARTER, variant="scalewise_4")
    assert "has no step at scale 8." in unavailable(PROFILE, early, options)
    assert unavailable(PROFILE, row(train={"schedule": "6"}, sample=QUARTER), options) == ""


def test_costs_are_those_of_the_steps_that_are_made() -> None:
    skeleton = Skeleton.of_folder(ROOT / PROFILE.weights.pipeline)

    def tokens(key: str) -> int:
        return network_cost(resolve(PROFILE, TABLE.row(key)).sample, skeleton).tokens

    assert tokens("mixed_1") == 28 * 2 * 16**2
    assert tokens("single_1_2") == tokens("mixed_1_2") == tokens("mixed_1") // 4
    assert tokens("student_1_2") == 4**2 + 6**2 + 8**2


def test_costs_and_shares_are_relative_to_the_teacher_at_the_whole_side() -> None:
    rows = TABLE.rows_in("mini")
    assert [found.key for found in rows if found.is_whole_teacher] == ["mixed_1"]
    assert teacher_of(TABLE.row("student_1_4"), rows, PROFILE) == TABLE.row("mixed_1")
    assert TABLE4.row("teacher_4").is_whole_teacher


def test_published_rows_are_sampled_by_their_pipelines_at_that_side(options: ScoresOptions) -> None:
    medium, sdxl = load_profile("sd35-medium"), load_profile("sdxl")
    teacher = system_of(medium, TABLE.row("teacher_1_4"), options)
    assert (teacher.resolution, teacher.steps, teacher.until) == (256, 40, None)
    student = system_of(medium, TABLE.row("student_1_4"), options)
    assert (student.resolution, student.steps, student.until) == (256, 1, 32)
    whole = system_of(medium, TABLE.row("student_1"), options)
    assert whole == system_of(medium, TABLE2.row("scalewise_6"), options)  # images are shared with Table 2
    assert system_of(sdxl, TABLE.row("student4_1_2"), options).until == 64


@pytest.mark.parametrize("profile", ["mini", "smoke", "sd35-medium", "sd35-large", "sdxl", "flux"])
def test_every_row_of_figure_4_can_be_resolved_and_is_compared_somewhere(profile: str) -> None:
    rows = TABLE.rows_in(profile)
    plans = [resolve(load_profile(profile), found) for found in rows]
    assert len({(found.key.rpartition("_")[0], found.network, found.share) for found in rows}) == len(plans) > 3
    here = {found.key for found in rows}
    assert any(set(claim.check.rows) <= here for claim in TABLE.claims)


def test_a_table_takes_fewer_images_where_it_says_so() -> None:
    assert TABLE.in_profile(PROFILE).images_per_set == 60
    assert TABLE.in_profile(smoke.PROFILE) == smoke.PROFILE
    assert TABLE2.in_profile(PROFILE) == PROFILE
    with pytest.raises(ValueError, match=r"a set takes at least 1 image, got \{'mini': 0\}"):
        Table(key="t", title="T", question="?", rows=(row(),), images={"mini": 0})


def test_a_curve_of_unknown_rows_does_not_load() -> None:
    with pytest.raises(ValueError, match=r"curve 'Teacher' names unknown rows \['gone'\]"):
        Table(
            key="t", title="T", question="?", rows=(row(),), side_curves=(SideCurve(label="Teacher", rows=("gone",)),)
        )
