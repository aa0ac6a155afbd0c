"""`--prompts`: other files for the sets of a profile, its further sets, and prompts of one's own."""

from dataclasses import replace
from pathlib import Path

import pytest

from repro.harness.kind import UsageError
from repro.harness.profile import Profile
from repro.harness.prompt_sets import captioned, changed
from repro.profiles import load_profile
from repro.worlds.benchmarks import Benchmarks

CAPTIONED = {"pickscore", "clipscore", "image_reward"}


@pytest.fixture
def medium(tmp_path: Path) -> Profile:
    real = load_profile("sd35-medium")
    return replace(real, data=replace(real.data, folder=str(tmp_path)))


def test_metrics_of_an_image_and_its_caption(medium: Profile) -> None:
    assert captioned(medium) == {*CAPTIONED, "hpsv3"}  # the last by a program of the user's


def test_a_further_set_is_measured_by_what_needs_no_real_images(medium: Profile) -> None:
    found = changed(medium, ["parti"])
    assert [(sets.key, sets.label) for sets in found.prompt_sets[len(medium.prompt_sets) :]] == [
        ("parti", "PartiPrompts")
    ]
    assert {scorer.name for scorer in found.scorers if "parti" in scorer.prompts} == CAPTIONED
    assert {column.key for column in found.columns if column.is_of("parti")} == {*CAPTIONED, "hpsv3"}
    assert found.data.prompt_files == {}


def test_prompts_of_ones_own_are_planned_and_read(medium: Profile, tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("a cat\na dog\n")
    found = changed(medium, [f"mine={own}"])
    world = Benchmarks(found, tmp_path)
    assert {prompt["caption"] for prompt in world.prompts("mine")} == {"a cat", "a dog"}
    plan = {plan.key: plan for plan in world.prompt_plans()}["mine"]
    assert (plan.images, plan.source, plan.reference) == (2, str(own), "nothing")
    assert str(own) in {need.name for need in world.needs()}


def test_another_file_of_a_set(medium: Profile, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("caption\na cat\n")
    found = changed(medium, [f"coco={other}"])
    assert found.prompt_sets == medium.prompt_sets
    assert found.scorers == medium.scorers
    assert found.data.prompt_files == {"coco": str(other)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["coco"], "--prompts coco: it is measured anyway; another file of it: --prompts coco=FILE"),
        (["party"], "unknown further set of prompts .* 'party'; did you mean parti.*of your own: --prompts party=FILE"),
        (["mine="], "--prompts takes SET or SET=FILE, got 'mine='"),
        (["parti", "parti=x.tsv"], "--prompts names parti twice"),
    ],
)
def test_what_cannot_be(medium: Profile, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(medium, words)


def test_prompts_that_nothing_measures_are_refused(medium: Profile) -> None:
    distances = tuple(scorer for scorer in medium.scorers if scorer.name not in CAPTIONED)
    with pytest.raises(UsageError, match="no metric of an image and its caption is left; expected clipscore"):
        changed(replace(medium, scorers=distances), ["parti"])


def test_the_mini_world_draws_its_own() -> None:
    with pytest.raises(UsageError, match="profile mini has prompts of its own"):
        changed(load_profile("mini"), ["parti"])
