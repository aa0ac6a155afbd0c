"""Scene score, placement and detail of real scenes, of scenes made worse on purpose, and in closed form."""

import numpy as np
import pytest
import torch
from PIL.Image import Image, fromarray
from torch import Tensor

from repro.metrics.base import Prompt, evaluate, pictures
from repro.metrics.trials import SetStatistics
from repro.worlds.mini.detail import Detail, upper_power
from repro.worlds.mini.placement import offsets_from_slots, placement_of, spreads
from repro.worlds.mini.scene_score import PLACES, SceneScore
from repro.worlds.mini.scenes import parse_caption, render, sample_scene, slots_of

PROMPTS: list[Prompt] = [
    {"caption": scene.caption, "kind": scene.kind, "seed": seed}
    for seed in range(24)
    for scene in [sample_scene(seed, ("single", "count", "position")[seed % 3])]
]

PLACEMENT = SetStatistics({"placement": placement_of(PLACES)}, (PLACES,), reference={})


def scenes_of(prompts: list[Prompt]) -> list[Image]:
    return [fromarray(render(sample_scene(prompt["seed"], prompt["kind"]))) for prompt in prompts]


def as_pixels(images: list[Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 127.5 - 1


def test_scene_score_of_real_scenes_and_of_other_captions() -> None:
    images = scenes_of(PROMPTS)
    real = evaluate([(images[:10], PROMPTS[:10]), (images[10:], PROMPTS[10:])], [SceneScore()])
    wrong = evaluate([(images[3:] + images[:3], PROMPTS)], [SceneScore()])
    assert real.values["scene_score"].value > 0.95 > 0.4 > wrong.values["scene_score"].value
    assert real.values["contour_error"].value < 0.15
    assert real.values["colour_error"].value < 1
    assert set(real.per_image) == {"scene_score", "contour_error", "colour_error"}


def test_places_are_those_of_the_scene() -> None:
    places = SceneScore().measure(scenes_of(PROMPTS), PROMPTS)[PLACES]
    for found, prompt in zip(places, PROMPTS, strict=True):
        objects = sample_scene(prompt["seed"], prompt["kind"]).objects
        true = np.array([(item.x, item.y) for item in objects])
        ours = found[: len(objects)]
        for place in true:  # objects of a count are alike: any order
            assert np.linalg.norm(ours - place, axis=1).min() < 0.01


def test_an_image_without_its_object_has_a_score_and_no_errors() -> None:
    blank = fromarray(np.full((64, 64, 3), 120, np.uint8))
    found = SceneScore().measure([blank], [{"caption": "a red star", "kind": "single", "seed": 0}])
    assert found["scene_score"].tolist() == [0.0]
    assert np.isnan([found["contour_error"][0], found["colour_error"][0]]).all()
    values = evaluate([([blank], [{"caption": "a red star"}])], [SceneScore()]).values
    assert np.isnan([values["contour_error"].value, values["colour_error"].value]).all()
    assert values["contour_error"].note == "No image shows an object of its caption."


@pytest.mark.parametrize("caption", ["a red star", "four blue rings", "a red star below a pink ring"])
def test_placement_is_the_standard_deviation_that_was_drawn(caption: str) -> None:
    rng, deviation = np.random.default_rng(0), 0.02
    slots = slots_of(parse_caption(caption))
    drawn = slots + rng.normal(0, deviation, (400, *slots.shape))
    if "four" in caption:  # alike objects come in any order
        drawn = np.stack([rng.permutation(image) for image in drawn])
    places = np.full((400, 4, 2), np.nan)
    places[:, : len(slots)] = drawn
    assert spreads(places, [caption] * 400)[caption].variance ** 0.5 == pytest.approx(deviation, rel=0.1)


def test_alike_objects_may_come_in_any_order_and_be_missing() -> None:
    slots = slots_of(parse_caption("three red stars"))
    places = np.full((4, 2), np.nan)
    places[0], places[1] = slots[2] + 0.01, slots[0] - 0.02
    offsets = offsets_from_slots(places, "three red stars")
    assert offsets[0] == pytest.approx([-0.02, -0.02])
    assert offsets[2] == pytest.approx([0.01, 0.01])
    assert np.isnan(offsets[1]).all()


def test_placement_of_captions_that_never_repeat_has_no_value() -> None:
    found = evaluate([(scenes_of(PROMPTS[:2]), PROMPTS[:2])], [SceneScore(), PLACEMENT])
    assert np.isnan(found.values["placement"].value)


def test_one_layout_for_a_caption_has_no_spread_and_real_scenes_have() -> None:
    prompts: list[Prompt] = [{"caption": "a red star", "kind": "single", "seed": seed} for seed in range(3)]
    star = next(scene for scene in map(sample_scene, range(10_000)) if scene.caption == "a red star")
    others = [scene for scene in map(sample_scene, range(3000)) if scene.caption == "a red star"][:3]
    metrics = [SceneScore(), PLACEMENT]
    same = evaluate([([fromarray(render(star))] * 3, prompts)], metrics).values["placement"]
    real = evaluate([([fromarray(render(scene)) for scene in others], prompts)], metrics).values["placement"]
    assert same.value < 0.01 < 1 < real.value


def test_detail_of_a_contrast_is_twice_its_log() -> None:
    real = as_pixels(scenes_of(PROMPTS))
    detail = Detail(lambda prompts: as_pixels(scenes_of(list(prompts))), reference={})
    shown = pictures(((0.5 * real + 1) * 127.5).round().to(torch.uint8))
    values = detail.measure(shown, PROMPTS)["detail"]
    assert values == pytest.approx(2 * np.log(0.5), abs=0.05)
    assert detail.measure(scenes_of(PROMPTS), PROMPTS)["detail"] == pytest.approx(0, abs=1e-5)


def test_a_flat_image_has_little_detail_and_a_number() -> None:
    real = as_pixels(scenes_of(PROMPTS))
    detail = Detail(lambda prompts: real[: len(prompts)], reference={})
    flat, dot = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    dot[0, 3, 3] = 1
    black, dotted = detail.measure(pictures(torch.stack([flat, dot])), PROMPTS[:2])["detail"]
    assert np.isfinite(black)
    assert black < dotted - 2 < -5


def test_real_images_are_drawn_once() -> None:
    asked: list[int] = []

    def draw(prompts: list[Prompt]) -> Tensor:
        asked.extend(prompt["seed"] for prompt in prompts)
        return as_pixels(scenes_of(prompts))

    detail = Detail(draw, reference={})
    for part in (PROMPTS[:6], PROMPTS[3:9], PROMPTS[:9]):
        detail.measure(scenes_of(part), part)
    assert asked == list(range(9))


@pytest.mark.parametrize(("cycles", "inside"), [(8, False), (15, False), (20, True), (31, True)])
def test_only_the_upper_octave_counts(cycles: int, inside: bool) -> None:
    wave = torch.cos(2 * torch.pi * cycles * torch.arange(64) / 64).expand(1, 3, 64, 64)
    power = float(upper_power(wave)[0])
    assert (power > 0.1) == inside
    assert inside or power < 1e-6
