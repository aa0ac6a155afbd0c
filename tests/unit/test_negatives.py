"""Captions that are wrong in one word: exactly one, a caption again, and false of the scene that was right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.harness.files import ROOT
from repro.profiles import mini
from repro.worlds.mini.scenes import SceneOracle, changed, grade, parse_caption, render, sample_scene
from repro.worlds.mini.scenes.negatives import CHANGES
from repro.worlds.mini.world import MiniWorld

APPLIES = {"colour": {"single", "count", "position"}, "shape": {"single", "count", "position"}}
APPLIES |= {"relation": {"position"}, "count": {"count"}}


def words(caption: str) -> list[str]:
    """With relations and plurals as one word."""
    text = caption.replace("left of", "left").replace("right of", "right")
    return [word.removesuffix("es") if word == "crosses" else word.removesuffix("s") for word in text.split()]


@given(seed=st.integers(0, 10**6), change=st.sampled_from(sorted(CHANGES)))
def test_one_word_differs_where_there_is_one(seed: int, change: str) -> None:
    scene = sample_scene(seed)
    other = changed(scene.caption, change, seed)
    differ = [pair for pair in zip(words(scene.caption), words(other), strict=True) if pair[0] != pair[1]]
    assert len(differ) == (scene.kind in APPLIES[change])
    assert parse_caption(other).kind == scene.kind
    assert len(set(parse_caption(other).things)) == len(set(parse_caption(scene.caption).things))
    assert changed(scene.caption, change, seed) == other


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_the_scene_does_not_show_the_changed_caption(change: str) -> None:
    scenes = [scene for scene in map(sample_scene, range(40)) if scene.kind in APPLIES[change]]
    for scene in scenes:
        image, other = render(scene), changed(scene.caption, change, scene.seed)
        assert not SceneOracle().check(image, other)
        assert grade(image, other).score < grade(image, scene.caption).score - 0.02


def test_a_relation_that_is_turned_round_exactly_has_no_share() -> None:
    """One object straight above the other: nothing lies across, and the distance along is on the wrong side."""
    assert parse_caption("a red star below a pink ring").relation_share(np.array([[0.5, 0.3], [0.5, 0.7]])) == 0.0
    assert parse_caption("a red star above a pink ring").relation_share(np.array([[0.5, 0.3], [0.5, 0.7]])) == 1.0


def test_every_word_is_drawn() -> None:
    found = {changed("a red star", "shape", seed) for seed in range(80)}
    assert found == {f"a red {shape}" for shape in ("circle", "square", "triangle", "cross", "ring")}
    assert {changed("two red stars", "count", seed) for seed in range(20)} == {"three red stars", "four red stars"}
    both = {
        changed("a red star above a blue star", "colour", seed).split()[4:] == ["a", "blue", "star"]
        for seed in range(20)
    }
    assert both == {True, False}


def test_a_prompt_keeps_its_scene() -> None:
    world = MiniWorld(mini.PROFILE, ROOT)
    prompt = world.prompts("compositional")[0]
    other = world.changed(prompt, "relation")
    assert other["caption"] != prompt["caption"]
    assert {**other, "caption": ""} == {**prompt, "caption": ""}
    np.testing.assert_array_equal(world.real_images([prompt], None), world.real_images([other], None))  # type: ignore[arg-type]


def test_other_changes_are_refused() -> None:
    with pytest.raises(ValueError, match="changes in colour, shape, relation, count, not in 'size'"):
        changed("a red star", "size", 0)
