"""One number of any images with its jackknife: against closed forms, the metrics themselves, and a simulation."""

import numpy as np
import pytest
import torch
from PIL.Image import Image, fromarray
from torchmetrics.image.kid import poly_mmd

from repro.kinds.validity.result import Number
from repro.metrics.base import MemoryMeasured, Prompt
from repro.metrics.clusters import ClusteredMean
from repro.metrics.fid import Reference, frechet_distance
from repro.metrics.jackknife import GROUPS, groups_of_captions
from repro.metrics.trials import (
    Rows,
    SetStatistics,
    frechet_of,
    kid_of,
    mean_of,
    replicated,
    spread_of,
)
from repro.worlds.mini.placement import placement_of
from repro.worlds.mini.scene_score import PLACES, SceneScore
from repro.worlds.mini.scenes import render, sample_scene


def rows(captions: list[str], **arrays: np.ndarray) -> Rows:
    return Rows([{"caption": caption, "seed": index} for index, caption in enumerate(captions)], arrays)


def jackknife_error(replicates: tuple[float, ...]) -> float:
    values = np.array(replicates)
    return float(np.sqrt((len(values) - 1) / len(values) * np.square(values - values.mean()).sum()))


def test_a_caption_stays_in_one_group_and_groups_are_alike_in_size() -> None:
    captions = [f"caption {number}" for number in range(60) for _ in range(1 + number % 4)]
    groups = groups_of_captions(captions)
    assert all(len({groups[i] for i, name in enumerate(captions) if name == caption}) == 1 for caption in captions)
    sizes = np.bincount(groups, minlength=GROUPS)
    assert sizes.max() - sizes.min() <= 1
    assert groups_of_captions(captions).tolist() == groups.tolist()


def test_fewer_captions_than_groups() -> None:
    with pytest.raises(ValueError, match="3 different captions, 20 groups need as many"):
        groups_of_captions(["a", "b", "c", "a"])


def test_a_mean_has_the_error_of_means_over_captions() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(40):
        captions = [f"{index // 3}" for index in range(600)]
        values = np.repeat(rng.normal(size=200), 3) + 0.5 * rng.normal(size=600)
        found = replicated(rows(captions, score=values), mean_of("score"))
        assert found.value == pytest.approx(values.mean())
        errors.append(jackknife_error(found.replicates) / ClusteredMean.of(values, captions).error)
    assert np.mean(errors) == pytest.approx(1, abs=0.06)


def test_intervals_cover_and_equal_conditions_are_seldom_told_apart() -> None:
    rng, captions = np.random.default_rng(3), [str(index // 2) for index in range(160)]
    covered, apart = [], []
    for _ in range(400):
        values = np.repeat(rng.exponential(size=80), 2) + 0.3 * rng.normal(size=160)
        found = replicated(rows(captions, score=values), mean_of("score"))
        number = Number(found.value, np.array(found.replicates))
        covered.append(abs(number.value - 1) < number.half)
        apart.append(abs(number.value - 1) > 3 * number.error)
    assert 0.92 < np.mean(covered) < 0.98
    assert np.mean(apart) < 0.03


def test_images_without_a_value_are_left_out_of_a_mean() -> None:
    assert mean_of("score")(rows(["a", "b", "c"], score=np.array([1.0, np.nan, 3.0]))) == 2
    assert np.isnan(mean_of("score")(rows(["a"], score=np.array([np.nan]))))


def test_distances_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(1)
    real, fake = (rng.normal(loc, 1, (50, 8)) for loc in (0, 0.3))
    reference = torch.from_numpy(real)
    images = rows([str(index) for index in range(50)], features=fake)
    ours = Reference.of(reference)
    expected = frechet_distance(ours, ours.sample(torch.from_numpy(fake)))
    assert frechet_of("features", reference)(images) == pytest.approx(expected)
    assert kid_of("features", reference)(images) == pytest.approx(float(poly_mmd(reference, torch.from_numpy(fake))))


def test_kid_of_one_distribution_is_nought_whatever_the_sizes() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(60):
        reference, fake = (torch.from_numpy(rng.normal(1, 1, (n, 6))) for n in (90, 30))
        found.append(kid_of("features", reference)(rows([str(i) for i in range(30)], features=fake.numpy())))
    assert abs(np.mean(found)) < 3 * np.std(found) / 60**0.5
    assert min(found) < 0 < max(found)


def test_replicates_leave_a_group_out() -> None:
    captions = [str(index) for index in range(40)]
    values = np.random.default_rng(2).normal(size=40)
    groups = groups_of_captions(captions)
    found = replicated(rows(captions, score=values), mean_of("score"))
    assert found.replicates == pytest.approx([values[groups != group].mean() for group in range(GROUPS)])


def test_spread_is_the_weighted_mean_of_pairs() -> None:
    features = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [3.0, 3.0], [5.0, 5.0], [1.0, 0.0]])
    captions = ["a", "a", "b", "b", "b", "c"]
    pairs = [1 - 1 / np.sqrt(2), 1 - 1 / np.sqrt(2), 0.0]
    expected = (1 * 1.0 + 2 * np.mean(pairs)) / 3
    assert spread_of("features")(rows(captions, features=features)) == pytest.approx(expected)
    assert np.isnan(spread_of("features")(rows(["a", "b"], features=features[:2])))


def test_placement_is_the_pooled_deviation_of_the_scenes_themselves() -> None:
    scenes = [sample_scene(seed, "single") for seed in range(150)]
    images: list[Image] = [fromarray(render(scene)) for scene in scenes]
    prompts: list[Prompt] = [{"caption": scene.caption, "seed": seed} for seed, scene in enumerate(scenes)]
    places = SceneScore().measure(images, prompts)[PLACES]
    true: dict[str, list[tuple[float, float]]] = {}
    for scene in scenes:
        true.setdefault(scene.caption, []).append((scene.objects[0].x, scene.objects[0].y))
    sums = [np.square(np.array(found) - np.mean(found, axis=0)).sum() / 2 for found in true.values()]
    pooled = sum(sums) / sum(len(found) - 1 for found in true.values())
    assert placement_of(PLACES)(Rows(prompts, {PLACES: places})) == pytest.approx(100 * pooled**0.5, rel=0.02)
    alone = Rows(prompts[:1], {PLACES: places[:1]})
    assert np.isnan(placement_of(PLACES)(alone))


def measured(captions: list[str], **arrays: np.ndarray) -> MemoryMeasured:
    halves = {name: [array[:7], array[7:]] for name, array in arrays.items()}
    return MemoryMeasured([{"caption": caption} for caption in captions], halves)


def test_a_pass_leaves_the_replicates_of_numbers_of_the_set() -> None:
    captions, values = [str(index // 2) for index in range(80)], np.random.default_rng(6).normal(size=80)
    metric = SetStatistics({"score": mean_of("values")}, ("values",), reference={})
    found = metric.estimates(measured(captions, values=values))["score"]
    expected = replicated(rows(captions, values=values), mean_of("values"))
    assert found.replicates == pytest.approx(expected.replicates)
    assert found.value == pytest.approx(values.mean())
    clustered = ClusteredMean.of(values, captions).estimate()
    assert found.ci_high - found.ci_low == pytest.approx(clustered.ci_high - clustered.ci_low, rel=0.3)
    assert metric.measure([], []) == {}


def test_numbers_that_images_do_not_determine() -> None:
    """Too few captions leave a number without an interval, and so does a group that alone determines it."""
    captions, values = [str(index) for index in range(40)], np.full(40, np.nan)
    metric = SetStatistics({"score": mean_of("values")}, ("values",), reference={})
    (none,) = metric.estimates(measured(captions, values=values)).values()
    values[3] = 1.0
    (alone,) = metric.estimates(measured(captions, values=values)).values()
    (few,) = metric.estimates(measured(captions[:19], values=np.arange(19.0))).values()
    assert np.isnan(none.value)
    assert none.note == "These images do not determine it."
    assert (alone.value, alone.ci_low, alone.replicates) == (1, None, ())
    assert (few.value, few.ci_low, few.replicates) == (9, None, ())


def test_what_numbers_follow_from_is_part_of_their_identity() -> None:
    one, other = (SetStatistics({"s": mean_of("v")}, ("v",), reference={"decoded": name}) for name in "ab")
    assert one.inputs() != other.inputs()
    assert one.inputs() != SetStatistics({"t": mean_of("v")}, ("v",), reference={"decoded": "a"}).inputs()
