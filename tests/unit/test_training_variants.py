"""Options that ablations change: how scales are drawn, how latents grow and shrink, what PDM compares."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from training_world import World, assert_same, cache, config, draw, fresh_accelerate, losses, steps, tensors

from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.errors import ConfigError, StateError
from swd.lora.card import StudentCard
from swd.lora.files import read_adapter
from swd.losses import median_distance
from swd.resize import downscale_area, upscale
from swd.sampler import sample
from swd.schedule import ScaleSchedule
from swd.training import DistillConfig, TrainResult
from swd.training.draws import Drawn, Draws
from swd.training.state import begin_from


def draws(process: int = 0, processes: int = 1, **changes: Any) -> Draws:
    options = config(batch_size=4, **changes)
    return Draws(
        config=options,
        schedule=options.schedule(),
        data=cache(),
        device=torch.device("cpu"),
        processes=processes,
        process=process,
    )


def card(result: TrainResult) -> StudentCard:
    found = StudentCard.from_header(read_adapter(result.adapter)[1])
    assert found is not None
    return found


def places(drawn: Drawn) -> list[tuple[int, int]]:
    return [(place, piece.step) for piece in drawn for place in piece.random.samples]


def test_mixed_steps_differ_within_a_batch_and_cover_the_schedule() -> None:
    found = [places(draws(mixed_steps=True).one(iteration, 1, "student")) for iteration in range(20)]
    assert all(sorted(place for place, _ in one) == [0, 1, 2, 3] for one in found)
    assert any(len({step for _, step in one}) == 2 for one in found)
    assert 0.3 < sum(step for one in found for _, step in one) / 80 < 0.7


def test_mixed_steps_read_the_images_of_a_batch_of_one_step() -> None:
    mixed, whole = (draws(mixed_steps=value) for value in (True, False))
    (plain,) = whole.one(1, 1, "student")
    for piece in mixed.one(1, 1, "student"):
        rows = list(piece.random.samples)
        assert torch.equal(piece.batch.cond.prompt_embeds, plain.batch.cond.prompt_embeds[rows])
        if piece.step == plain.step:
            assert torch.equal(piece.batch.target, plain.batch.target[rows])


def test_mixed_steps_do_not_depend_on_the_number_of_processes() -> None:
    alone = places(draws(mixed_steps=True).one(3, 1, "student"))
    shared = [places(draws(process, 2, mixed_steps=True).one(3, 1, "student")) for process in range(2)]
    assert sorted(alone) == sorted([*shared[0], *shared[1]])


@pytest.fixture
def world(tiny_denoiser: SD3Denoiser, tmp_path: Any) -> Iterator[World]:
    with fresh_accelerate():
        yield World(tiny_denoiser, tmp_path)


def test_a_mixed_update_is_the_mean_over_its_images(world: World) -> None:
    """The gradient of a mixed batch is the weighted sum of those of its pieces."""
    made = world.trainer(mixed_steps=True, batch_size=4, clip_norm=1e9)
    drawn = next(one for n in range(20) if len(one := made.draws.one(n, 1, "student")) == 2)
    totals = []
    with made.bank.trainable("student"):
        for piece in drawn:
            result = made.steps.student(piece.batch, piece.step, piece.random)
            totals.append(len(piece) / 4 * result.total)
        expected = torch.autograd.grad(sum(totals), made.bank.parameters("student"), allow_unused=True)
        terms = made.updates._backward(made.descents["student"], made.steps.student, drawn)
    assert terms["total"] == pytest.approx(float(sum(totals).detach()), rel=1e-5)
    for parameter, gradient in zip(made.bank.parameters("student"), expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)


def test_a_mixed_run_trains_and_its_log_names_no_step(world: World) -> None:
    result = world.train("run", mixed_steps=True, batch_size=4)
    lines = losses(result)
    assert len(lines) == 3
    assert not any("step" in line for line in lines)
    assert all(math.isfinite(line["total"]) for line in lines)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_upscaling_of_training_is_that_of_sampling_and_of_the_card(world: World, mode: str) -> None:
    made = steps(world.denoiser, config(upscale=mode))
    batch, random = draw(1)
    sigma = made.schedule.sigmas[1]
    larger = upscale(batch.lower, (6, 6), mode)  # type: ignore[arg-type]
    expected = (1 - sigma) * larger + sigma * random.normal("student", larger)
    torch.testing.assert_close(made._student_start(batch, random, sigma)[1], expected)
    assert card(world.train("run", upscale=mode)).schedule().upscale == mode
    assert card(world.train("other")).upscale is None


def test_a_schedule_samples_by_its_own_upscaling(tiny_denoiser: SD3Denoiser) -> None:
    schedule = ScaleSchedule((4, 6), (1.0, 0.7, 0.0))
    condition, seen = cache().condition([0]), []

    def watch(step: int, x_t: Tensor, x0: Tensor) -> None:
        seen.append((x_t, x0))

    for mode in ("bicubic", "nearest"):
        sample(tiny_denoiser, replace(schedule, upscale=mode), condition, [0], on_step=watch)
    (_, first), (bicubic, _), (_, _), (nearest, _) = seen
    apart = upscale(first, (6, 6), "nearest") - upscale(first, (6, 6), "bicubic")
    torch.testing.assert_close(nearest - bicubic, 0.3 * apart, atol=1e-5, rtol=1e-4)


def test_latents_may_be_downscaled_in_place_of_pixels() -> None:
    data, schedule = cache(), config().schedule()
    batch = data.batch([0, 1], schedule, 0, from_latents=True)
    assert torch.equal(batch.target, downscale_area(data.latents(6, [0, 1]), (4, 4)))
    last = data.batch([0, 1], schedule, 1, from_latents=True)
    assert torch.equal(last.target, data.latents(6, [0, 1]))
    assert torch.equal(last.lower, batch.target)
    (piece,) = draws(downscale="latents").one(1, 1, "student")
    assert torch.equal(piece.batch.lower, downscale_area(piece.batch.target, (4, 4)))


def test_without_noise_the_features_are_those_of_clean_latents(tiny_denoiser: SD3Denoiser) -> None:
    made = steps(tiny_denoiser, config(pdm_noise=False))
    batch, random = draw(1)
    seen = []
    features = tiny_denoiser.features

    def watch(x_t: Tensor, sigma: Tensor, *rest: Any) -> Any:
        seen.append((x_t, sigma))
        return features(x_t, sigma, *rest)

    object.__setattr__(tiny_denoiser, "features", watch)
    made._pdm(batch.target + 1, batch, random)
    assert torch.equal(seen[0][0], batch.target + 1)
    assert torch.equal(seen[1][0], batch.target)
    assert not any(sigma.any() for _, sigma in seen)


def test_the_median_distance_is_that_of_pairs_of_tokens() -> None:
    tokens = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]], [[0.0, 0.0], [6.0, 8.0], [0.0, 1.0]]])
    distances = sorted([5.0, 8.0, 5.0, 10.0, 1.0, math.hypot(6, 7)])
    assert median_distance(tokens) == pytest.approx(distances[2])  # torch's median is the lower of two
    some = torch.randn(2, 1000, 3, generator=torch.Generator().manual_seed(0))
    assert median_distance(some) == pytest.approx(median_distance(some, most=1000), rel=0.05)
    with pytest.raises(ValueError, match="all alike"):
        median_distance(torch.ones(1, 4, 2))
    with pytest.raises(ValueError, match="N of at least 2"):
        median_distance(torch.ones(1, 1, 2))


def test_the_median_rule_gives_the_kernel_that_length(tiny_denoiser: SD3Denoiser) -> None:
    batch, random = draw(1)
    by_rule = steps(tiny_denoiser, config(pdm_kernel="rbf", pdm_bandwidth_rule="median"))
    seen: list[float] = []
    sigma = torch.tensor(by_rule.config.sigma_grid())[random.indices("pdm level", 18, 28)]
    noised = by_rule._process.add_noise(batch.target, random.normal("pdm noise", batch.target), sigma)
    with by_rule.bank.use(None):
        seen.append(median_distance(by_rule._features(noised, sigma, batch.cond)))
    by_hand = steps(tiny_denoiser, config(pdm_kernel="rbf", pdm_bandwidth=seen[0]))
    wanted = by_hand._pdm(batch.target + 1, batch, random)
    assert torch.equal(by_rule._pdm(batch.target + 1, batch, random), wanted)


def test_variants_see_the_same_images_and_noise(world: World) -> None:
    """Common random numbers: what differs between two variants is what was named, and nothing that was drawn."""
    plain = draws()
    for changes in (
        {"weight_pdm": 0.0},
        {"pdm_kernel": "rbf"},
        {"pdm_noise": False},
        {"upscale": "nearest"},
        {"rank": 4},
        {"weight_dmd": 0.0, "weight_gan": 0.0},
    ):
        other = draws(**changes)
        for iteration in range(3):
            ours, others = plain.read(iteration), other.read(iteration)
            for mine, theirs in zip(ours[-len(others) :], others, strict=True):  # fake updates may be left out
                (mine,), (theirs,) = mine, theirs
                assert torch.equal(mine.batch.target, theirs.batch.target)
                assert torch.equal(mine.batch.lower, theirs.batch.lower)
                assert mine.random == theirs.random
                noises = [one.random.normal("student", one.batch.target) for one in (mine, theirs)]
                assert torch.equal(*noises)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upscale": "lanczos"}, "upscale must be one of bicubic, bilinear, nearest, fourier, got 'lanczos'"),
        ({"downscale": "both"}, "downscale must be one of pixels, latents"),
        ({"pdm_bandwidth_rule": "mean"}, "pdm_bandwidth_rule must be one of fixed, median"),
        ({"pdm_bandwidth_rule": "median"}, "is of pdm_kernel rbf and is not read by linear"),
        ({"pdm_kernel": "cubic"}, "pdm_kernel must be one of linear, rbf, naive, got 'cubic'"),
        ({"pdm_features": "student"}, "pdm_features must be one of teacher, fake"),
        ({"mixed_precision": "half"}, "mixed_precision must be one of no, bf16, fp16"),
        ({"pdm_kernel": "rbf", "pdm_bandwidth_rule": "median", "micro_batch_size": 1}, "a whole batch of one step"),
        ({"pdm_noise": False, "pdm_indices": (18, 28)}, "pdm_indices are noise levels"),
        ({"mixed_steps": True, "pdm_pool_batch": True}, "mixed_steps gives each step its own"),
    ],
)
def test_what_cannot_be_meant_is_named(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_options_of_a_variant_are_part_of_a_run() -> None:
    plain = config().as_json()
    for changes in ({"upscale": "nearest"}, {"downscale": "latents"}, {"pdm_noise": False}, {"mixed_steps": True}):
        assert config(**changes).as_json() == {**plain, **changes}
    assert isinstance(config(), DistillConfig)


def test_a_run_that_begins_where_a_shorter_one_ended_is_that_of_one_go(world: World) -> None:
    whole = world.train("whole", iterations=4, ema_decay=0.9)
    shorter = world.train("shorter", iterations=2, ema_decay=0.9)
    begin_from(shorter.log.parent, world.folder / "longer")
    longer = world.train("longer", iterations=4, ema_decay=0.9)
    assert_same(tensors(whole.adapter), tensors(longer.adapter))
    assert losses(whole) == losses(longer)
    assert longer.seconds > shorter.seconds


def test_a_run_that_has_begun_takes_nothing_over(world: World) -> None:
    world.train("first", iterations=3)
    own = world.train("own", iterations=1)
    begin_from(world.folder / "first", world.folder / "own")
    assert len(losses(own)) == 1
    begin_from(world.folder / "nothing", world.folder / "new")
    assert not (world.folder / "new").exists()


def test_a_run_is_not_begun_from_one_of_other_options(world: World) -> None:
    world.train("other", iterations=1, lr=0.5)
    begin_from(world.folder / "other", world.folder / "mine")
    with pytest.raises(StateError, match=r"lr: 0.5 -> 0.01"):
        world.train("mine", iterations=2)
