"""The graded reading of scenes: closed forms for each error, and what must not move it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from repro.worlds.mini.scenes import COLOURS, SHAPES, Scene, SceneObject, grade, render, sample_scene

GREY = (120.0, 120.0, 120.0)


def scene_of(caption: str, *objects: SceneObject) -> Scene:
    return Scene(seed=0, kind="position", caption=caption, objects=objects, base_rgb=GREY, leaves=())


def one(shape: str, colour: str = "red", radius: float = 0.25, x: float = 0.5, y: float = 0.5) -> Scene:
    return scene_of(f"a {colour} {shape}", SceneObject(shape, colour, x, y, radius))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_shape_is_its_own_template_to_a_twentieth_of_a_pixel(shape: str) -> None:
    scene = one(shape, radius=0.2437, x=0.4913, y=0.5271)
    found = grade(render(scene), scene.caption)
    (item,) = found.objects
    assert item is not None
    assert found.score > 0.98
    assert item.contour < 0.03
    assert (item.x, item.y, item.radius) == pytest.approx((0.4913 * 64, 0.5271 * 64, 0.2437 * 64), abs=0.05)


@pytest.mark.parametrize("bandwidth", [1.0, 1.5, 2.0])
def test_contour_error_of_a_blurred_edge_is_its_mean_absolute_deviation(bandwidth: float) -> None:
    image = ndimage.gaussian_filter(render(one("circle", radius=0.3)).astype(float), (bandwidth, bandwidth, 0))
    (item,) = grade(np.rint(image).astype(np.uint8), "a red circle").objects
    assert item is not None
    x = np.linspace(-10, 10, 20_001)  # across the outline; the template's own edge is a ramp of one pixel
    expected = np.trapezoid(np.abs(stats.norm.cdf(x / bandwidth) - np.clip(x + 0.5, 0, 1)), x)
    assert item.contour == pytest.approx(expected, rel=0.07)


@pytest.mark.parametrize("offset", [(0, 12, 0), (-9, 12, 20)])
def test_colour_error_is_the_distance_to_the_palette(offset: tuple[int, int, int]) -> None:
    image = render(one("circle", "cyan"))
    inside = np.linalg.norm(image.astype(float) - COLOURS["cyan"], axis=-1) < 1
    image[inside] = np.clip(np.array(COLOURS["cyan"]) + offset, 0, 255)
    (item,) = grade(image, "a cyan circle").objects
    assert item is not None
    assert item.colour == pytest.approx(float(np.linalg.norm(offset)), rel=0.02)


def test_a_missing_and_an_unwanted_object_count_zero() -> None:
    left, right = SceneObject("star", "blue", 0.27, 0.5, 0.19), SceneObject("ring", "pink", 0.73, 0.5, 0.19)
    both = grade(render(scene_of("", left, right)), "a blue star left of a pink ring")
    alone = grade(render(scene_of("", left)), "a blue star left of a pink ring")
    extra = grade(render(scene_of("", left, right)), "a blue star")
    overlaps = [item.overlap for item in both.objects if item]
    assert both.score == pytest.approx(np.mean(overlaps))
    assert both.extra == 0
    assert alone.score == pytest.approx(overlaps[0] / 2, abs=0.01)
    assert alone.objects[1] is None
    assert (extra.score, extra.extra) == (pytest.approx(overlaps[0] / 2, abs=0.01), 1)


def test_the_relation_falls_to_zero_at_a_right_angle() -> None:
    shares = []
    for angle in (0, 30, 44, 60, 75, 90, 180):
        x, y = 0.23 * np.cos(np.radians(angle)), 0.23 * np.sin(np.radians(angle))
        scene = scene_of(
            "", SceneObject("star", "blue", 0.5 - x, 0.5 - y, 0.18), SceneObject("ring", "pink", 0.5 + x, 0.5 + y, 0.18)
        )
        shares.append(grade(render(scene), "a blue star left of a pink ring").relation)
    assert shares[:3] == [1, 1, 1]
    assert shares[3:] == pytest.approx([1 / np.tan(np.radians(60)), 1 / np.tan(np.radians(75)), 0, 0], abs=0.02)


def test_the_score_of_real_scenes_is_near_one_and_falls_with_blur_and_other_captions() -> None:
    scenes = [sample_scene(seed) for seed in range(40)]
    images = [render(scene) for scene in scenes]
    blurred = [np.rint(ndimage.gaussian_filter(image.astype(float), (1, 1, 0))).astype(np.uint8) for image in images]
    real, soft, wrong = (
        np.array([grade(image, scene.caption).score for image, scene in zip(shown, scenes, strict=True)])
        for shown in (images, blurred, images[1:] + images[:1])
    )
    assert real.min() > 0.9
    assert (real > soft).all()
    assert soft.mean() > 0.5 > 0.3 > wrong.mean()


def test_the_place_of_an_object_does_not_move_its_overlap() -> None:
    overlaps = [
        grade(render(one("star", x=0.5 + shift / 64, y=0.5 - shift / 128)), "a red star").score
        for shift in range(-6, 7)
    ]
    assert np.ptp(overlaps) < 0.02


def test_a_flat_image_and_one_of_a_single_colour_score_zero() -> None:
    for rgb in (GREY, COLOURS["red"]):
        flat = render(replace(one("circle"), objects=(), base_rgb=tuple(map(float, rgb))))
        assert grade(flat, "a blue star").score == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8"):
        grade(np.zeros((64, 64, 3)), "a red star")
    with pytest.raises(ValueError, match="not a caption of the mini world"):
        grade(np.zeros((64, 64, 3), np.uint8), "a dog")
