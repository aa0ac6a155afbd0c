"""Tables 5, 6 and 7 as declared: one named change a row, training seeds by what rests on them, options that exist."""

from dataclasses import asdict

import pytest

from repro import _ablations as ablations
from repro import load_experiment
from repro.harness.experiment import Row, UnknownNameError
from repro.harness.plan import resolve
from repro.kinds.scores.declare import Check, Table
from repro.profiles import load_profile
from swd.errors import ConfigError
from swd.schedule import preset
from swd.training import DistillConfig

TABLES = ("table5", "table6", "table7", "table5_rates", "training_dynamics")
# options that one named change moves together
TOGETHER = {
    "pdm_only": {"weight_dmd", "weight_gan"},
    "no_shift": {"preset", "shift"},
    "rbf_median": {"pdm_kernel", "pdm_bandwidth_rule"},
    "rank_4": {"rank", "alpha"},
    "rank_64": {"rank", "alpha"},
    "rbf_only": {"pdm_kernel", "weight_dmd", "weight_gan"},
    "naive_only": {"pdm_kernel", "weight_dmd", "weight_gan"},
}
OF_FULL_SCALE = {"preset", "lr", "lr_fake"}  # which has a rate of its own


def table(key: str) -> Table:
    found = load_experiment(key)
    assert isinstance(found, Table)
    return found


def students(key: str, profile: str = "mini") -> list[Row]:
    return [row for row in table(key).rows_in(profile) if row.is_student]


@pytest.mark.parametrize("row", ablations.OTHERS, ids=lambda row: row.key)
def test_a_variant_differs_from_the_full_loss_in_what_its_label_names(row: Row) -> None:
    profile = load_profile("mini" if "mini" in row.profiles or not row.profiles else row.profiles[0])
    full, other = (resolve(profile, found) for found in (ablations.FULL, row))
    moved = {name for name, value in asdict(full.training).items() if asdict(other.training)[name] != value}
    if row.key == ablations.BY_TEACHER.key:
        assert (moved, full.data, other.data) == (set(), "world", "teacher")
    elif row.key in (ablations.FULLSCALE.key, ablations.FULLSCALE_FAST.key):
        assert moved == (OF_FULL_SCALE if row.key == ablations.FULLSCALE.key else {"preset"})
        assert other.sample.schedule == full.sample.schedule
    else:
        assert moved <= TOGETHER.get(row.key, moved)
        assert len(moved) == len(TOGETHER.get(row.key, {""}))


@pytest.mark.parametrize("key", TABLES)
@pytest.mark.parametrize("profile", ["mini", "smoke", "sd35-medium"])
def test_every_row_is_a_training_that_can_be_had(key: str, profile: str) -> None:
    found = load_profile(profile)
    assert all(resolve(found, row).training.schedule().num_steps == 6 for row in students(key, profile))


def test_tables_train_the_same_students() -> None:
    names = [{row.key for row in students(key)} for key in ("table5", "table7")]
    assert names[0] == names[1]
    assert len(names[0]) == 29
    assert {"full", "no_pdm", "pdm_only", "rbf"} <= {row.key for row in students("table6")} & names[0]
    mini = load_profile("mini")
    trainings = [[resolve(mini, row).training for row in students(key)] for key in ("table5", "table2_seeds")]
    assert len([one for one in trainings[1] if one in trainings[0]]) == 2  # six steps, scale-wise and at full scale


def test_what_a_claim_rests_on_has_five_seeds_and_the_rest_three() -> None:
    found = table("table5")
    seeds = {row.key: found.seeds_of(row, found.seeds) for row in students("table5")}
    assert seeds["no_pdm"] == seeds["full"] == seeds["full_half_way"] == (0, 1, 2, 3, 4)
    assert seeds["rank_4"] == seeds["mixed_steps"] == seeds["no_dmd"] == (0, 1, 2)
    assert found.seeds_of(found.row("rank_4"), (7,)) == (7,)


@pytest.mark.parametrize("key", ["table5", "table6", "table7"])
def test_every_claim_of_the_method_is_asked(key: str) -> None:
    asked = {claim.statement for claim in table(key).claims}
    wanted = {
        "pdm_helps", "pdm_alone", "kernels_alike", "pooling_hurts", "noise_helps", "progressive", "pixel_downscaling",
        "time_shift", "scalewise_training", "pdm_converges",
    }  # fmt: skip
    assert asked == ({"naive_patch"} if key == "table6" else wanted)


@pytest.mark.parametrize(("profile", "role"), [("mini", "prompt_alignment"), ("sd35-medium", "preference")])
def test_primary_claims_are_about_one_metric(profile: str, role: str) -> None:
    found = table("table5").in_profile(load_profile(profile))
    measured = {column.role for column in found.columns if column.is_of(found.prompt_sets[0].key)}
    checks = [claim.check for claim in table("table5").claims if claim.primary]
    roles = [check.role for check in checks if isinstance(check, Check) and check.role in measured]
    assert roles.count(role) >= 13
    assert set(roles) <= {role, "text_similarity"}  # that of pooling alone


def test_losses_work_at_the_same_levels_without_time_shift() -> None:
    profile = load_profile("mini")
    full, even = (resolve(profile, row).training for row in (ablations.FULL, ablations.NO_SHIFT))
    assert preset("mini-even-6") == even.schedule()  # by its name too
    for name in ("dmd_indices", "pdm_indices"):
        tops = [one.sigma_grid()[getattr(one.teacher_grid, name)[0]] for one in (full, even)]
        assert tops[0] == pytest.approx(tops[1], abs=0.03)
    assert even.schedule().sigmas == pytest.approx([1 - step / 6 for step in range(7)], abs=0.02)


def test_dynamics_are_of_trainings_that_begin_alike() -> None:
    profile = load_profile("mini")
    for curve in table("training_dynamics").training_curves:
        configs = [resolve(profile, table("training_dynamics").row(key)).train for key in curve.rows]
        trained = [one for one, key in zip(configs, curve.rows, strict=True) if one and not key.endswith(("_1", "_3"))]
        assert [one.iterations for one in trained] == [10, 25, 50, 100]
        plain = [{**one.as_json(), "iterations": 0} for one in trained]
        assert all(one == plain[0] for one in plain)


def test_a_variant_of_an_unknown_option_is_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownNameError, match="pdm_kernal"):
        ablations.variant("typo", "A typo", pdm_kernal="rbf")
    with pytest.raises(ValueError, match="trains on data 'others'"):
        ablations.variant("data", "Other data", data="others")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (8, 16), "boundaries": (0, 10, 20, 28)}, "2 scales need 3 sigmas, got 4"),
        ({"pdm_kernel": "cubic"}, "pdm_kernel"),
        ({"feature_block": -1}, "feature_block"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DistillConfig(preset="mini-6", **changes).schedule()  # type: ignore[arg-type]
