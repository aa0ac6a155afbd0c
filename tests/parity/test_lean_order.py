"""The lean order of `swd.training` against the published one: same losses, same gradients."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import StableDiffusion3Pipeline
from torch import Tensor
from training_world import fresh_accelerate

from repro.stages.published_order import PlainStep
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.cost.counting import count
from swd.data import build_cache
from swd.training import DistillConfig
from swd.training.cost import training_cost
from swd.training.draws import Piece
from swd.training.optim import Descent
from swd.training.trainer import Trainer

ROWS = (3, 0, 2)
CAPTIONS = ["a red star", "a blue cross", "two circles", "a red cross"]
CONFIG = DistillConfig(
    preset="tiny",
    scales=(8, 12, 16),
    boundaries=(0, 7, 14, 28),
    batch_size=len(ROWS),
    fake_updates=2,
    rank=2,
    alpha=2.0,
    feature_block=0,
    guidance_scale=3.0,
    lr=1e-30,  # weights stay, so that gradients of all updates can be compared
    weight_decay=0.0,
    clip_norm=1e9,
    progress=False,
)
Gradients = dict[str, Tensor]


class World:
    """The same data for both orders: as images and captions, and as a cache of what becomes of them."""

    def __init__(self, pipeline: StableDiffusion3Pipeline, folder: Path) -> None:
        self.pipeline, self.folder = pipeline, folder
        self.images = torch.rand(len(CAPTIONS), 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        self.data = build_cache(self.images, CAPTIONS, pipeline, CONFIG.scales, folder / "cache", progress=False)

    def plain(self) -> PlainStep:
        """With adapters off their zero start, so that the three models differ."""
        made, rng = PlainStep(CONFIG, self.pipeline), torch.Generator().manual_seed(2)
        for bank in (made.student, made.fake):
            (name,) = bank.names
            state = {key: 0.3 * torch.randn(value.shape, generator=rng) for key, value in bank.state_dict(name).items()}
            bank.load_state_dict(name, state)
        return made

    def trainer(self, plain: PlainStep, **options: Any) -> Trainer:
        """On a copy of the same teacher, with the same adapters and head."""
        denoiser = SD3Denoiser(copy.deepcopy(self.pipeline.transformer))
        made = Trainer(replace(CONFIG, **options), denoiser, self.data, self.folder / "run", Accelerator())
        for bank in (plain.student, plain.fake):
            made.bank.load_state_dict(bank.names[0], bank.state_dict(bank.names[0]))
        made.discriminator.load_state_dict(plain.head.state_dict())
        return made


@pytest.fixture
def world(tiny_pipeline: StableDiffusion3Pipeline, tmp_path: Path) -> Iterator[World]:
    with fresh_accelerate():
        yield World(tiny_pipeline, tmp_path)


def plain_iteration(plain: PlainStep, images: Tensor, step: int) -> tuple[dict[str, float], list[Gradients]]:
    """Losses, and the gradients of every update."""
    found: list[Gradients] = []
    descend = plain._descend

    def spy(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        descend(optimizer, loss)
        model = "student" if optimizer is plain.student_optimizer else "fake"
        bank = plain.student if model == "student" else plain.fake
        found.append({key: weight.grad.clone() for key, weight in bank.named_parameters(model).items()})
        if model == "fake":
            found[-1] |= {key: weight.grad.clone() for key, weight in plain.head.named_parameters()}

    plain._descend = spy
    draw = images[list(ROWS)], [CAPTIONS[row] for row in ROWS]
    iteration = plain.schedule.num_steps + step
    return plain.iterate(iteration, step, [draw] * (CONFIG.fake_updates + 1)), found


def lean_iteration(trainer: Trainer, step: int) -> tuple[dict[str, float], list[Gradients]]:
    """Losses, and the gradients of every update."""
    found: list[Gradients] = []

    def watch(descent: Descent, model: str, head: dict[str, Tensor]) -> None:
        step = descent.step

        def spy() -> float:
            named = trainer.bank.named_parameters(model) | head
            found.append({key: weight.grad.clone() for key, weight in named.items()})
            return step()

        descent.step = spy

    watch(trainer.descents["fake"], "fake", dict(trainer.discriminator.named_parameters()))
    watch(trainer.descents["student"], "student", {})
    batch = trainer.draws.data.batch(ROWS, trainer.schedule, step)
    iteration = trainer.schedule.num_steps + step
    drawn = [(Piece(step, batch, piece.random),) for (piece,) in trainer.draws.read(iteration)]
    return trainer._iterate(iteration, drawn), found


SWITCHES: dict[str, dict[str, Any]] = {
    "lean": {},
    "own student passes": {"share_student_pass": False},
    "own fake passes": {"share_fake_pass": False},
    "every second block again": {"gradient_checkpointing": "half"},
    "full checkpointing": {"gradient_checkpointing": "full"},
    "selective checkpointing": {"gradient_checkpointing": "selective"},
    "pieces": {"micro_batch_size": 2},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_losses_and_gradients_are_those_of_the_plain_order(world: World, switch: str) -> None:
    for step in range(3):
        plain = world.plain()
        expected, gradients = plain_iteration(plain, world.images, step)
        losses, found = lean_iteration(world.trainer(plain, **SWITCHES[switch]), step)
        for name in ("pdm", "dmd", "gan", "total", "fake", "discriminator"):
            assert losses[name] == pytest.approx(expected[name], rel=1e-5), name
        assert len(found) == len(gradients) == CONFIG.fake_updates + 1
        for ours, theirs in zip(found, gradients, strict=True):
            assert ours.keys() == theirs.keys()
            size = torch.cat([value.flatten() for value in theirs.values()]).norm()
            error = torch.cat([(ours[key] - theirs[key]).flatten() for key in theirs]).norm()
            assert error < 1e-5 * size


def test_counted_work_of_the_plain_order_is_that_of_its_passes(world: World) -> None:
    """What the page of training costs says of the published order is counted by the switches that come nearest."""
    plain, step = world.plain(), 2
    draw = world.images[list(ROWS)], [CAPTIONS[row] for row in ROWS]
    updates = CONFIG.fake_updates + 1
    encoding = updates * count(lambda: plain.encode(draw, step)).flops
    whole = count(lambda: plain.iterate(step, step, [draw] * updates)).flops
    apart = replace(CONFIG, scales=(16,) * 3, share_fake_pass=False, gradient_checkpointing="full")
    tokens = plain.encode_text([""]).prompt_embeds.shape[1]
    passes = training_cost(SD3Denoiser(world.pipeline.transformer), apart, text_tokens=tokens, batch=len(ROWS))
    assert whole - encoding == pytest.approx(sum(cost.flops for cost in passes.values()), rel=1e-3)
