from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from repro.harness import overrides
from repro.harness.kind import UsageError
from repro.harness.profile import Profile
from repro.harness.systems import HubFile
from repro.metrics import inception
from repro.profiles import load_profile
from repro.worlds.scorers import BUILDERS

MEDIUM = load_profile("sd35-medium")


def typed(*words: str) -> Namespace:
    parser = ArgumentParser()
    overrides.add_arguments(parser)
    return parser.parse_args(words)


def changed(*words: str, profile: Profile = MEDIUM) -> Profile:
    return overrides.changed(profile, typed(*words))


def test_nothing_typed_changes_nothing() -> None:
    assert changed() == MEDIUM
    assert changed(profile=load_profile("mini")) == load_profile("mini")


def test_what_is_typed_replaces_what_the_profile_says(tmp_path: Path) -> None:
    found = changed(
        "--pipeline", "my/base", "--revision", "abc", "--num-prompts", "5000", "--batch-size", "2",
        "--dtype", "bfloat16", "--vae", "tiny", "--data", str(tmp_path),
        "--scorer", "pickscore=/w/pick", "--without", "fid",
    )  # fmt: skip
    assert (found.weights.pipeline, found.weights.revision) == ("my/base", "abc")
    assert (found.images_per_set, found.data.num_prompts, found.data.folder) == (5000, 5000, str(tmp_path))
    assert found.execution is not None
    assert (found.execution.batch_size, found.execution.dtype, found.execution.tiny_vae) == (2, "bfloat16", True)
    scorers = {scorer.name: scorer.weights for scorer in found.scorers}
    assert scorers["pickscore"] == HubFile("/w/pick")
    assert "fid" not in scorers
    assert scorers.keys() == {scorer.name for scorer in MEDIUM.scorers} - {"fid"}


def test_another_base_does_not_keep_the_revision_of_the_profile() -> None:
    pinned = changed("--revision", "abc")
    assert changed("--pipeline", "my/base", profile=pinned).weights.revision is None


def test_a_revision_pins_students_and_weights_of_metrics() -> None:
    clip, student = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "yresearch/swd-medium-6-steps"
    found = changed("--revision", f"{clip}=abc", f"{student}=def")
    scorers = {scorer.name: scorer for scorer in found.scorers}
    assert scorers["clipscore"].weights == scorers["pickscore"].settings["processor"] == HubFile(clip, revision="abc")
    assert scorers["pickscore"].weights == HubFile("yuvalkirstain/PickScore_v1")
    assert found.weights.revisions[student] == "def"
    assert found.weights.revision is None


def test_further_metrics_are_measured_where_they_are_asked_for() -> None:
    assert [scorer.name for scorer in changed("--with", "cmmd", "cmmd").scorers][-2:] == ["diversity", "cmmd"]
    found = changed("--with", "fd_dinov2", "--scorer", "fd_dinov2=my/dino", "--without", "fid")
    own = next(scorer for scorer in found.scorers if scorer.name == "fd_dinov2")
    assert own.weights == HubFile("my/dino")
    for scorer in MEDIUM.optional:
        column = MEDIUM.column(scorer.name)
        assert column is not None
        assert column.prompts == scorer.prompts
        assert scorer.name not in {each.name for each in MEDIUM.scorers}
        assert scorer.name in BUILDERS


def test_the_recipe_of_fid_and_the_files_of_images_are_chosen() -> None:
    assert set(overrides.RECIPES) == set(inception.RECIPES)
    scorers = {scorer.name: scorer for scorer in changed("--recipe", "clean-fid").scorers}
    assert scorers["fid"].settings["recipe"] == "clean-fid"
    assert [scorer for name, scorer in scorers.items() if name != "fid"] == [
        scorer for scorer in MEDIUM.scorers if scorer.name != "fid"
    ]
    found = changed("--encoding", "webp").execution
    assert found is not None
    assert found.encoding == "webp"


def test_a_set_that_no_metric_is_left_for_gets_no_images() -> None:
    assert [prompts.key for prompts in changed("--without", "geneval").prompt_sets] == ["coco", "mjhq", "diversity"]
    kept = changed("--without", "pickscore", "clipscore", "image_reward", "fid", "diversity", "--external", "hpsv3")
    assert [prompts.key for prompts in kept.prompt_sets] == ["coco", "mjhq", "geneval"]


def test_other_weights_do_not_keep_the_terms_and_the_command_of_the_profile_s_own() -> None:
    found = {scorer.name: scorer for scorer in changed("--scorer", "fid=someone/inception").scorers}
    assert (found["fid"].licence, found["fid"].get) == ("", "")
    own = next(scorer for scorer in MEDIUM.scorers if scorer.name == "diversity")
    assert (found["diversity"].licence, found["diversity"].get) == (own.licence, own.get) != ("", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-prompts", "0"], "--num-prompts must be at least 2, got 0"),
        (["--num-prompts", "1"], "--num-prompts must be at least 2, got 1"),
        (["--batch-size", "-1"], "--batch-size must be at least 1, got -1"),
        (["--dtype", "int8"], "--dtype must be one of float32, bfloat16, float16, got int8"),
        (["--scorer", "pickscore"], "--scorer takes NAME=PATH, got 'pickscore'"),
        (["--scorer", "fid=a", "fid=b"], "--scorer names fid twice: a and b"),
        (
            ["--scorer", "pikscore=a"],
            "unknown metric of profile sd35-medium 'pikscore'; did you mean pickscore or clipscore?",
        ),
        (["--without", *(scorer.name for scorer in MEDIUM.scorers)], "no metric of profile sd35-medium is left"),
        (["--with", "cmdm"], "unknown further metric of profile sd35-medium 'cmdm'; did you mean cmmd?"),
        (["--recipe", "swd", "--without", "fid"], "--recipe swd is of FID, which is not measured in profile"),
        (["--without", "IS"], "unknown metric of profile sd35-medium 'IS'"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(*words)
    assert message in str(caught.value)


def test_a_world_with_metrics_of_its_own_has_none_to_change() -> None:
    with pytest.raises(UsageError, match="profile mini has metrics of its own"):
        changed("--without", "fid", profile=load_profile("mini"))
    with pytest.raises(UsageError, match="--with cmmd: profile mini has no further metrics"):
        changed("--with", "cmmd", profile=load_profile("mini"))
