"""The mini world: determinism, geometry against counting pixels, and the oracle's error rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.worlds.mini.scenes import CAPTION_WORDS, KINDS, SHAPES, SceneOracle, parse_caption, render, sample_scene
from repro.worlds.mini.scenes.render import coverage

SCENES = 360


@pytest.fixture(scope="module")
def world() -> list[tuple]:
    scenes = [sample_scene(seed, KINDS[seed % 3]) for seed in range(SCENES)]
    return [(scene, render(scene)) for scene in scenes]


def test_the_oracle_confirms_rendered_scenes(world: list[tuple]) -> None:
    oracle = SceneOracle()
    for kind in KINDS:
        hits = [oracle.check(image, scene.caption) for scene, image in world if scene.kind == kind]
        assert np.mean(hits) >= 0.96, kind
    assert np.mean([oracle.check(image, scene.caption) for scene, image in world]) >= 0.98


def test_the_oracle_rejects_wrong_captions(world: list[tuple]) -> None:
    oracle, others = SceneOracle(), world[3:] + world[:3]
    pairs = [
        (image, other.caption)
        for (scene, image), (other, _) in zip(world, others, strict=True)
        if scene.caption != other.caption
    ]
    assert len(pairs) > SCENES * 0.9
    assert np.mean([oracle.check(image, caption) for image, caption in pairs]) <= 0.02


@pytest.mark.parametrize("change", ["colour", "shape", "count", "relation"])
def test_the_oracle_sees_one_wrong_word(world: list[tuple], change: str) -> None:
    swaps = {
        "colour": lambda text: text.replace("red", "blue") if "blue" not in text else text,
        "shape": lambda text: text.replace("circle", "ring") if "ring" not in text else text,
        "count": lambda text: text.replace("three", "four"),
        "relation": lambda text: text.replace("left of", "right of"),
    }
    oracle = SceneOracle()
    cases = [
        (image, swaps[change](scene.caption)) for scene, image in world if swaps[change](scene.caption) != scene.caption
    ]
    assert len(cases) >= 10
    assert np.mean([oracle.check(image, caption) for image, caption in cases]) <= 0.02


def test_an_extra_object_makes_a_caption_false() -> None:
    image = render(sample_scene(1, "single"))
    image[:14, :14] = (230, 40, 40)
    assert not SceneOracle().check(image, sample_scene(1, "single").caption)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", math.pi),
        ("ring", math.pi * (1.0**2 - 0.44**2)),
        ("square", 1.4**2),
        ("cross", 4 * 0.95 * 0.6 - 0.6**2),
        ("triangle", 0.92 * 1.72),
        ("star", 10 * 0.5 * 0.42 * math.sin(math.pi / 5)),
    ],
)
def test_rendered_area_is_the_shapes_own(shape: str, area: float) -> None:
    radius, axis = 40.3, np.arange(100) - 49.6
    covered = coverage(shape, axis[None, :], axis[:, None], radius).sum()
    assert covered / radius**2 == pytest.approx(area, rel=0.01)


def test_a_scene_looks_alike_at_every_resolution() -> None:
    scene = sample_scene(7, "position")
    fine = render(scene, 256).reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(fine - render(scene, 64)).mean() < 2.0


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS))
def test_scenes_follow_from_their_seed_and_hold_their_caption(seed: int, kind: str) -> None:
    scene = sample_scene(seed, kind)
    assert scene == sample_scene(seed, kind)
    meaning = parse_caption(scene.caption)
    assert meaning.text == scene.caption
    assert set(scene.caption.split()) <= set(CAPTION_WORDS)
    assert [(item.colour, item.shape) for item in scene.objects] == list(meaning.things)
    assert meaning.relation_holds(np.array([(item.x, item.y) for item in scene.objects]))
    for item in scene.objects:
        assert item.radius <= min(item.x, item.y, 1 - item.x, 1 - item.y)
        assert item.shape in SHAPES


def test_background_spectrum_falls_as_a_power_law() -> None:
    plain = [sample_scene(seed) for seed in range(64)]
    power = 0.0
    for scene in plain:
        image = render(type(scene)(scene.seed, scene.kind, scene.caption, (), scene.base_rgb, scene.leaves), 64).mean(
            -1
        )
        power = power + np.abs(np.fft.rfft2(image - image.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None, :])
    bands = [(low, low * 1.5) for low in (0.03, 0.06, 0.12, 0.24)]
    means = [power[(frequency >= low) & (frequency < high)].mean() for low, high in bands]
    slopes = np.diff(np.log(means)) / np.log(2)
    assert np.all(slopes < -1.5)
    assert np.all(slopes > -4.5)


@pytest.mark.parametrize("text", ["", "a red", "a purple star", "five red stars", "a red star near a blue star"])
def test_other_text_is_no_caption(text: str) -> None:
    with pytest.raises(ValueError, match="not a caption"):
        parse_caption(text)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="unknown kind 'pair'"):
        sample_scene(0, "pair")
    with pytest.raises(ValueError, match="-1"):
        sample_scene(-1)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        render(sample_scene(0), 0)
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8"):
        SceneOracle().read(np.zeros((3, 8, 8), np.float32))
