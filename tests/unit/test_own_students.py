"""A student under another row's name: known by what its adapter says of its training."""

from dataclasses import replace
from typing import Any

import pytest

from repro.harness.experiment import ExperimentError, Row
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.systems import HubFile
from repro.kinds.scores.own_students import check_base, check_recipe
from repro.profiles import load_profile
from repro.table2 import TABLE as TABLE2
from repro.table5 import TABLE as TABLE5

MEDIUM, MINI = load_profile("sd35-medium"), load_profile("mini")


def trained(row: Row, profile: Profile, **changes: Any) -> dict[str, Any]:
    return {"config": {**resolve(profile, row).training.as_json(), **changes}}


@pytest.mark.parametrize("profile", [MEDIUM, MINI], ids=lambda profile: profile.name)
def test_every_row_of_table_5_takes_its_own_student_and_no_other_s(profile: Profile) -> None:
    rows = [row for row in TABLE5.rows_in(profile.name) if row.train is not None]
    for row in rows[:8]:
        check_recipe(row, rows, profile, trained(row, profile))
    full, without = TABLE5.row("full"), TABLE5.row("no_pdm")
    with pytest.raises(ExperimentError, match=r"row full: .* weight_pdm 0\.0, not .*; it is that of row no_pdm"):
        check_recipe(full, rows, profile, trained(without, profile))


def test_how_long_and_on_what_one_trains_is_one_s_own() -> None:
    row, rows = TABLE5.row("full"), TABLE5.rows_in(MEDIUM.name)
    check_recipe(row, rows, MEDIUM, trained(row, MEDIUM, iterations=7, batch_size=3, seed=9))


def test_a_header_that_says_nothing_of_training_passes() -> None:
    check_recipe(TABLE2.row("scalewise_6"), TABLE2.rows_in(MEDIUM.name), MEDIUM, {})
    check_recipe(TABLE2.row("teacher"), TABLE2.rows_in(MEDIUM.name), MEDIUM, {"config": {"weight_pdm": 0.0}})


def test_a_student_of_another_base_is_refused() -> None:
    row, base = TABLE2.row("scalewise_6"), MEDIUM.weights.base
    with pytest.raises(ExperimentError, match="it is a student of someone/other, and the base is stabilityai/stable"):
        check_base(row, base, "someone/other")
    for said in (None, base.repo, base.repo.upper(), "a folder", "/a/folder"):
        check_base(row, base, said)
    check_base(row, replace(base, repo="folder"), "someone/other")
    assert isinstance(base, HubFile)
