"""Worlds: what a profile names is what is measured, and nothing else knows it by name."""

from dataclasses import replace

import pytest
import torch

from repro.harness.experiment import ExperimentError, UnknownNameError
from repro.harness.files import ROOT
from repro.profiles import PROFILES, load_profile
from repro.profiles.mini import PROFILE
from repro.stages.image_files import read_image
from repro.worlds.base import load_world
from repro.worlds.mini.scenes import render, sample_scene

WORLD = load_world(PROFILE, ROOT)


def test_only_profiles_name_a_world_by_a_string() -> None:
    named = {load_profile(name).data.world for name in PROFILES}
    files = [path for path in (ROOT / "repro").rglob("*.py") if path.parent.name != "profiles"]
    assert not [(path, world) for path in files for world in named if world and world in path.read_text("utf-8")]


def test_real_images_are_the_scenes_behind_the_prompts() -> None:
    prompts = WORLD.prompts("compositional")[:3]
    images = WORLD.real_images(prompts, read_image)
    assert images.shape == (3, 3, 64, 64)
    expected = torch.from_numpy(render(sample_scene(prompts[2]["seed"], "position"))).permute(2, 0, 1)
    torch.testing.assert_close((images[2] + 1) * 127.5, expected.float())


def test_captions_for_a_clock_differ_and_stay() -> None:
    captions = WORLD.captions(40)
    assert len(set(captions)) == 40
    assert WORLD.captions(8) == captions[:8]
    assert captions[0] == sample_scene(0).caption


def test_every_profile_of_a_model_can_be_timed() -> None:
    for name in PROFILES:
        captions = load_world(load_profile(name), ROOT).captions(9)  # no prompt file is there
        assert len(set(captions)) == 9
        assert all(captions)


def test_a_source_that_a_world_does_not_have_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean scenes"):
        WORLD.image_source("scene", 64, 1)


def test_a_profile_without_a_world_says_so() -> None:
    with pytest.raises(ExperimentError, match="profile mini has no world of prompts and images"):
        load_world(replace(PROFILE, data=replace(PROFILE.data, world=None)), ROOT)
