"""A world small enough to distil in a test: random latents, two steps, one fake update."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor

from swd.backbones.base import Denoiser
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.data import LatentCache
from swd.data.cache import Batch
from swd.data.layout import SCHEMA, CacheIndex, deviation_key, growing_pairs, lower_key
from swd.lora.bank import AdapterBank
from swd.rng import StepRandom
from swd.training import DistillConfig, TrainResult, train
from swd.training.discriminator import Discriminator
from swd.training.draws import Drawn
from swd.training.step import DistillationStep
from swd.training.trainer import Trainer

SCALES = (4, 6)
TOKENS = 5  # of a prompt
SHAPES = {"prompt_embeds": (TOKENS, 32), "pooled": (16,)}  # of a prompt's rows, for the networks of conftest
CONFIG = DistillConfig(
    preset="tiny",
    scales=SCALES,
    boundaries=(0, 14, 28),
    iterations=3,
    batch_size=2,
    lr=1e-2,
    fake_updates=1,
    rank=2,
    alpha=2.0,
    feature_block=1,
    checkpoint_every=1,
    progress=False,
)


def config(**changes: Any) -> DistillConfig:
    return replace(CONFIG, **changes)


def cache(count: int = 5, scales: tuple[int, ...] = SCALES, denoiser: Denoiser | None = None) -> LatentCache:
    """Random latents and prompts in memory, two images to a shard; of SD3's network unless given another's denoiser."""
    rng = torch.Generator().manual_seed(1)
    pairs, prompts = growing_pairs(scales), ["", "a red star", "a blue cross"]
    name, shapes = "sd3", SHAPES
    if denoiser is not None:
        name, shapes = denoiser.backbone.name, denoiser.backbone.condition_shapes(denoiser.network, TOKENS)
    index = CacheIndex(
        SCHEMA, "print", "pipeline", name, scales, pairs, "float32", count, 2, len(prompts), 8, "random", True
    )
    sides = {f"side_{side}": side for side in scales} | {lower_key(low, side): low for low, side in pairs}
    full = {key: torch.randn(count, 4, side, side, generator=rng) for key, side in sides.items()}
    full |= {deviation_key(key): torch.full_like(latents, 0.5) for key, latents in full.items()}
    full["prompt"] = torch.arange(count) % 2 + 1
    shards = [{key: value[start : start + 2] for key, value in full.items()} for start in range(0, count, 2)]
    rows = {key: torch.randn(len(prompts), *shape, generator=rng) for key, shape in shapes.items()}
    return LatentCache(index, shards, [rows], prompts)


def steps(denoiser: SD3Denoiser, options: DistillConfig = CONFIG) -> DistillationStep:
    """Losses on adapters that have left their zero start, so that the three models differ."""
    bank = AdapterBank(denoiser, rank=options.rank, alpha=options.alpha, seed=options.seed)
    rng = torch.Generator().manual_seed(2)
    for name in bank.names:
        state = bank.state_dict(name)
        bank.load_state_dict(name, {key: 0.3 * torch.randn(value.shape, generator=rng) for key, value in state.items()})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = Discriminator(denoiser.inner_dim)
    return DistillationStep(options, options.schedule(), bank, head if options.uses_gan else None, cache().empty)


def draw(step: int, rows: tuple[int, ...] = (0, 1), name: str = "student") -> tuple[Batch, StepRandom]:
    return cache().batch(rows, CONFIG.schedule(), step), StepRandom(0, 7, name, range(len(rows)))


def tensors(folder: Path) -> dict[str, Tensor]:
    """Everything saved under a folder; copies, so that damage to the files does not show in them."""
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.name}:{key}": value.clone() for file in files for key, value in load_file(file).items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert left
    different = [key for key in left if not torch.equal(left[key], right[key])]
    assert not different, f"{len(different)} of {len(left)} tensors differ, first {different[0]}"


@contextmanager
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its device and precision for the life of the process, so each test starts it anew."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def interrupted_at(iteration: int) -> Iterator[None]:
    """Trainings in the block end in that iteration, before its student's update."""
    update = Trainer._update_student

    def interrupted(self: Trainer, drawn: Drawn) -> dict[str, float]:
        if drawn[0].random.iteration == iteration:
            raise KeyboardInterrupt
        return update(self, drawn)

    with patch.object(Trainer, "_update_student", interrupted), pytest.raises(KeyboardInterrupt):
        yield


class World:
    def __init__(self, denoiser: SD3Denoiser, folder: Path) -> None:
        self.denoiser, self.folder = denoiser, folder

    def train(
        self, name: str, *, resume: bool = True, state_minutes: float | None = None, **changes: Any
    ) -> TrainResult:
        how: dict[str, Any] = {"resume": resume, "state_minutes": state_minutes}
        return train(config(**changes), self.denoiser, cache(), self.folder / name, **how)

    def trainer(self, name: str = "run", *, state_minutes: float | None = None, **changes: Any) -> Trainer:
        output, accelerator = self.folder / name, Accelerator()
        return Trainer(config(**changes), self.denoiser, cache(), output, accelerator, state_minutes=state_minutes)


def losses(result: TrainResult) -> list[dict[str, float]]:
    return curve(result.log)


def curve(log: Path) -> list[dict[str, float]]:
    """Lines of a log without their times."""
    lines = map(json.loads, log.read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
