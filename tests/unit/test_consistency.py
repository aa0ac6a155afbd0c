"""Latent consistency distillation: the distance, the loss on functions that are exact, and runs of the trainer."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from training_world import World, assert_same, cache, config, fresh_accelerate, interrupted_at, losses, tensors

from swd.backbones import backbone_of
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.data.cache import Batch
from swd.errors import ConfigError, NonFiniteLossError, StateError
from swd.flow import FlowMatching
from swd.lora.bank import AdapterBank
from swd.lora.files import read_adapter
from swd.losses import consistency_loss
from swd.rng import StepRandom
from swd.schedule import preset
from swd.training import DistillConfig
from swd.training.consistency import ConsistencyStep
from swd.training.cost import training_cost

FULL: dict[str, Any] = {"objective": "consistency", "scales": (6, 6), "boundaries": (0, 14, 28)}


def test_distances_by_hand() -> None:
    prediction, target = torch.tensor([[3.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    assert consistency_loss(prediction, target, huber_c=4.0).item() == pytest.approx((5 - 4) / 2)
    assert consistency_loss(prediction, target, distance="l2").item() == pytest.approx(4.5)


def test_pseudo_huber_keeps_its_digits_where_it_is_quadratic() -> None:
    error = torch.tensor([1e-6])
    exact = (error.double().square() + 1e-3**2).sqrt() - 1e-3
    assert consistency_loss(error, torch.zeros(1)).item() == pytest.approx(exact.item(), rel=1e-3)


def test_target_is_a_constant() -> None:
    prediction, target = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    consistency_loss(prediction, target, distance="l2").backward()
    torch.testing.assert_close(prediction.grad, torch.ones(2))
    assert target.grad is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": torch.zeros(3)}, r"one shape, got \(2,\) and \(3,\)"),
        ({"distance": "l1"}, "distance must be one of huber, l2, got 'l1'"),
        ({"huber_c": 0.0}, "huber_c must be finite and positive, got 0.0"),
    ],
)
def test_what_is_no_distance_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        consistency_loss(torch.zeros(2), **{"target": torch.zeros(2), **changes})


class Formulas:
    """A bank and its denoiser in one, whose models are functions of (x_t, sigma, cond)."""

    process, names = FlowMatching(), ("student",)

    def __init__(self, teacher: Any, student: Any) -> None:
        self.models, self.active, self.denoiser = {None: teacher, "student": student}, None, self

    @contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        self.active, before = name, self.active
        yield
        self.active = before

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        return self.models[self.active](x_t, sigma[:, None, None, None], cond)


def made_of(bank: Any, options: DistillConfig) -> ConsistencyStep:
    return ConsistencyStep(options, options.schedule(), bank, cache().empty)


def loss_of(bank: Formulas, seed: int = 7, **changes: Any) -> float:
    made = made_of(bank, config(**{**FULL, **changes}))
    batch = cache().batch(list(range(5)), made.config.schedule(), 0)
    return made.student(batch, 0, StepRandom(0, seed, "student", range(5))).total.item()


def place(cond: Any, x_t: Tensor) -> Tensor:
    """A point for each caption."""
    return cond.pooled[:, :4, None, None].expand_as(x_t)


@pytest.mark.parametrize("distance", ["huber", "l2"])
def test_consistency_function_of_straight_trajectories_has_no_loss(distance: str) -> None:
    """A caption that has one image: the guided ODE runs straight to one point, and the point is the function."""
    empty = cache().empty

    def guided(x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        return place(empty, x_t) + 3 * (place(cond, x_t) - place(empty, x_t))

    bank = Formulas(lambda x_t, sigma, cond: place(cond, x_t), guided)
    options = {"guidance_scale": 3.0, "consistency_distance": distance, "consistency_skip": 5}
    assert loss_of(bank, **options) == pytest.approx(0, abs=1e-9)
    bank.models["student"] = lambda x_t, sigma, cond: guided(x_t, sigma, cond) + sigma
    assert loss_of(bank, **options) > 1e-3


def test_consistency_function_of_a_gaussian_has_the_loss_of_the_solver_alone() -> None:
    """x0 ~ N(0, s^2): the ODE scales x with sqrt((1 - sigma)^2 s^2 + sigma^2); Euler errs as step^2."""
    s = 0.5

    def spread(sigma: Tensor) -> Tensor:
        return ((1 - sigma).square() * s**2 + sigma.square()).sqrt()

    def teacher(x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        return s**2 * (1 - sigma) * x_t / spread(sigma).square()

    bank = Formulas(teacher, lambda x_t, sigma, cond: s * x_t / spread(sigma))
    options = {"guidance_scale": 1.0, "consistency_distance": "l2", "shift": 1.0, "grid_steps": 112}
    options |= {"boundaries": (0, 56, 112)}
    fine, coarse = (
        math.sqrt(sum(loss_of(bank, seed, **options, consistency_skip=skip) for seed in range(40)) / 40)
        for skip in (1, 4)
    )
    assert coarse / fine == pytest.approx(16, rel=0.2)
    bank.models["student"] = teacher  # the posterior mean is no consistency function
    assert loss_of(bank, **options, consistency_skip=4) > 10 * coarse**2


def moved_bank(denoiser: Any, options: DistillConfig) -> AdapterBank[Any]:
    """Adapters that have left their zero start, so that the models differ."""
    bank = AdapterBank(denoiser, rank=2, alpha=2.0, names=options.adapters, seed=0)
    rng = torch.Generator().manual_seed(2)
    for name in bank.names:
        state = bank.state_dict(name)
        bank.load_state_dict(name, {key: 0.3 * torch.randn(value.shape, generator=rng) for key, value in state.items()})
    return bank


@pytest.mark.parametrize("decay", [None, 0.95])
def test_gradient_reaches_the_student_alone(tiny_denoiser: SD3Denoiser, decay: float | None) -> None:
    options = config(**FULL, consistency_decay=decay)
    bank = moved_bank(tiny_denoiser, options)
    made = made_of(bank, options)
    batch = cache().batch([0, 1], options.schedule(), 0)
    with bank.trainable("student"):
        made.student(batch, 0, StepRandom(0, 7, "student", range(2))).total.backward()
    grown = {key for key, weight in tiny_denoiser.network.named_parameters() if weight.grad is not None}
    assert len(grown) > 0.9 * len(bank.parameters("student"))
    assert all(".student." in key for key in grown)
    assert any(weight.grad.abs().sum() > 0 for weight in bank.parameters("student") if weight.grad is not None)


def family(name: str) -> tuple[Any, Any, Any]:
    """Denoiser, conditions of two captions and that of none, of a small network with random weights."""
    pipeline = tiny_pipelines.make(name)
    backbone = backbone_of(pipeline)
    denoiser = backbone.denoiser(backbone.network(pipeline))
    rng = torch.Generator().manual_seed(3)
    shapes = backbone.condition_shapes(denoiser.network, 5)
    conds = [{key: torch.randn(n, *shape, generator=rng) for key, shape in shapes.items()} for n in (2, 1)]
    return denoiser, *(backbone.condition(**cond) for cond in conds)


@pytest.mark.parametrize(("name", "grid"), [("sd35-medium", "sd35"), ("flux", "flux"), ("sdxl", "sdxl")])
def test_loss_is_the_formula_on_separate_passes(name: str, grid: str) -> None:
    denoiser, cond, empty = family(name)
    side = 8
    own = {"grid": grid, "boundaries": (0, 10, 50) if name == "sdxl" else (0, 14, 28)}
    options = config(**{**FULL, **own, "scales": (side, side), "guidance_scale": 3.0, "consistency_skip": 4})
    bank, random = moved_bank(denoiser, options), StepRandom(0, 11, "student", range(2))
    target = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(4))
    found = ConsistencyStep(options, options.schedule(), bank, empty).student(Batch(target, target, cond), 0, random)

    levels = torch.tensor(options.sigma_grid())
    index = random.indices("consistency level", 0, len(levels) - 4)
    high, low = levels[index], levels[index + 4]
    a, b = (weights(name, level) for level in (high, low))
    noise = random.normal("student", target)
    x_t = a[0] * target + a[1] * noise
    with torch.no_grad():
        if denoiser.embeds_guidance:
            x0 = denoiser(x_t, high, cond.with_guidance(3.0))
        else:
            none = denoiser(x_t, high, empty.expand_to(2))
            x0 = none + 3 * (denoiser(x_t, high, cond) - none)
        lower = b[0] * x0 + b[1] * (x_t - a[0] * x0) / a[1]
        with bank.use("student"):
            student, wanted = denoiser(x_t, high, cond), denoiser(lower, low, cond)
    assert low.min() > 0
    expected = (((student - wanted).square() + 1e-6).sqrt() - 1e-3).mean()
    torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.samples, student, rtol=1e-4, atol=1e-4)


def weights(name: str, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Of x0 and noise in x_t."""
    signal, spread = 1 - sigma, sigma
    if name == "sdxl":
        scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        power = scheduler.alphas_cumprod[(1000 * sigma).round().long() - 1]
        signal, spread = power.sqrt(), (1 - power).sqrt()
    return signal[:, None, None, None], spread[:, None, None, None]


def test_trajectory_starts_at_noise_alone_and_ends_without_a_network(tiny_denoiser: SD3Denoiser) -> None:
    options = config(**FULL, consistency_skip=27, guidance_scale=1.0)
    made = made_of(moved_bank(tiny_denoiser, options), options)
    x_t, sigma = torch.randn(2, 4, 6, 6), torch.tensor([0.0, 0.5])
    batch = cache().batch([0, 1], options.schedule(), 0)
    ends = made._target(x_t, sigma, batch.cond)
    assert torch.equal(ends[0], x_t[0])
    assert not torch.equal(ends[1], x_t[1])
    assert torch.equal(made._noised(batch.target, x_t, torch.ones(2)), x_t)
    pairs = (levels.tolist() for n in range(40) for levels in _pairs(made, n))
    grid = torch.tensor(options.sigma_grid()).tolist()
    assert {tuple(levels) for levels in pairs} == {(grid[0], grid[27]), (grid[1], 0.0)}


def _pairs(made: ConsistencyStep, iteration: int) -> Iterator[Tensor]:
    yield from torch.stack(made._levels(StepRandom(0, iteration, "student", range(3))), 1)


@pytest.fixture
def world(tiny_denoiser: SD3Denoiser, tmp_path: Path) -> Iterator[World]:
    with fresh_accelerate():
        yield World(tiny_denoiser, tmp_path)


def test_run_has_one_term_and_no_fake_model(world: World) -> None:
    result = world.train("run", **FULL, ema_decay=0.5)
    assert all(line.keys() == {"iteration", "step", "consistency", "total", "grad_norm"} for line in losses(result))
    parts = {key.split(":")[1].split("/")[0] for key in tensors(result.adapter.parent / "state-000003")}
    assert parts == {"student", "ema", "optimizer_student"}
    state, metadata = read_adapter(result.adapter)
    assert metadata["config"]["objective"] == "consistency"
    assert metadata["scales"] == [6, 6]
    assert any(weight.abs().sum() > 0 for key, weight in state.items() if "lora_B" in key)
    assert not any(".fake." in name for name, _ in world.denoiser.network.named_parameters())


def test_a_student_that_learns_has_a_smaller_loss(world: World) -> None:
    lines = losses(world.train("run", **FULL, iterations=40, lr=3e-2, seed=1, checkpoint_every=40, guidance_scale=1.0))
    first, last = (sum(line["consistency"] for line in part) for part in (lines[:10], lines[-10:]))
    assert last < 0.9 * first


@pytest.mark.parametrize("changes", [{}, {"consistency_decay": 0.5, "ema_decay": 0.9, "warmup": 2}])
def test_resumed_run_is_bit_equal(world: World, changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = world.train("whole", **FULL, iterations=4, **changes)
    with interrupted_at(3):
        world.train("parts", **FULL, iterations=4, checkpoint_every=2, **changes)
    parts = world.train("parts", **FULL, iterations=4, checkpoint_every=2, **changes)
    assert losses(whole) == losses(parts)
    assert_same(*(tensors(world.folder / name / "state-000004") for name in ("whole", "parts")))
    assert_same(tensors(whole.adapter), tensors(parts.adapter))


def test_pieces_of_a_batch_train_as_the_whole(world: World) -> None:
    whole, parts = (world.train(f"{size}", **FULL, micro_batch_size=size, iterations=1) for size in (2, 1))
    for left, right in zip(losses(whole), losses(parts), strict=True):
        assert left == pytest.approx(right, rel=1e-4)


def test_target_starts_as_the_student_and_follows_by_its_decay(world: World) -> None:
    made = world.trainer(**FULL, consistency_decay=0.75)
    start = {key: value.clone() for key, value in made.bank.state_dict("student").items()}
    assert_same(start, made.bank.state_dict("target"))
    made._iterate(0, made.draws.read(0))
    after = made.bank.state_dict("student")
    key = next(key for key in after if "lora_B" in key and not torch.equal(after[key], start[key]))
    torch.testing.assert_close(made.bank.state_dict("target")[key], 0.75 * start[key] + 0.25 * after[key])


def test_every_batch_that_is_read_is_learned_from() -> None:
    options = config(**FULL, fake_updates=5)
    assert options.images_read == options.iterations * options.batch_size
    assert config(fake_updates=5).images_read == 6 * options.images_read


def test_not_a_number_stops_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swd.training.consistency.consistency_loss", lambda x0, *_, **__: x0.sum() * math.nan)
    with pytest.raises(NonFiniteLossError, match="consistency is not finite at iteration 0"):
        world.train("run", **FULL)


def test_folder_of_the_other_objective_is_refused(world: World) -> None:
    world.train("run", scales=(6, 6), iterations=1)
    with pytest.raises(StateError, match="objective: distribution -> consistency"):
        world.train("run", **FULL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "consistent"}, "objective must be one of distribution, consistency, got 'consistent'"),
        ({"consistency_distance": "l1"}, "consistency_distance must be one of huber, l2, got 'l1'"),
        ({"consistency_skip": 0}, "consistency_skip must be at least 1, got 0"),
        ({"consistency_skip": 28}, "consistency_skip must be at most 27 of this grid, got 28"),
        ({"consistency_huber_c": 0.0}, "consistency_huber_c must be finite and positive, got 0.0"),
        ({"consistency_decay": 1.0}, "consistency_decay must be between 0 and 1, got 1.0"),
        ({"weight_pdm": 0.0}, "weight_pdm belongs to objective distribution and is not read under consistency"),
        ({"pdm_kernel": "rbf"}, "pdm_kernel belongs to objective distribution"),
        ({"dmd_indices": (0, 28)}, "dmd_indices belongs to objective distribution"),
        ({"objective": "distribution", "consistency_decay": 0.9}, "consistency_decay belongs to objective consistency"),
        ({"objective": "distribution", "consistency_skip": 2}, "consistency_skip belongs to objective consistency"),
    ],
)
def test_bad_options_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**{**FULL, **changes})


def test_scales_that_grow_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"has one scale: take a full-scale preset, got scales \(16, 20, 24, 32\)"):
        DistillConfig(preset="mini-4", objective="consistency").schedule()
    assert DistillConfig(preset="mini-full-4", objective="consistency").schedule() == preset("mini-full-4")


def test_passes_are_counted_and_none_is_a_fake_model_s(tiny_denoiser: SD3Denoiser) -> None:
    found = training_cost(tiny_denoiser, config(**FULL, guidance_scale=3.0), text_tokens=5)
    assert found.keys() == {"student update: teacher x0", "student update: student x0", "student update: backward"}
    teacher, student = (found[f"student update: {name} x0"].flops for name in ("teacher", "student"))
    assert 0.8 < teacher / student < 1  # two rows each: with and without text; student and target, with adapters
