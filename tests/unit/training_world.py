"""A world small enough to distil in a test: random latents, two steps, one fake update."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from swd.models.adapters import AdapterBank
from swd.models.discriminator import Discriminator
from swd.models.sd3 import SD3Denoiser
from swd.training import DistillConfig, LatentCache
from swd.training.data import SCHEMA, Batch, CacheIndex, growing_pairs, lower_key
from swd.training.rng import StepRandom
from swd.training.step import DistillationStep

SCALES = (4, 6)
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


def cache(count: int = 5, scales: tuple[int, ...] = SCALES) -> LatentCache:
    """Random latents and prompts in memory, two images to a shard."""
    rng = torch.Generator().manual_seed(1)
    pairs, prompts = growing_pairs(scales), ["", "a red star", "a blue cross"]
    index = CacheIndex(SCHEMA, "print", "pipeline", scales, pairs, "float32", count, 2, len(prompts), 8, "random")
    sides = {f"side_{side}": side for side in scales} | {lower_key(low, side): low for low, side in pairs}
    full = {key: torch.randn(count, 4, side, side, generator=rng) for key, side in sides.items()}
    full["prompt"] = torch.arange(count) % 2 + 1
    shards = [{key: value[start : start + 2] for key, value in full.items()} for start in range(0, count, 2)]
    embeds, pooled = torch.randn(3, 5, 32, generator=rng), torch.randn(3, 16, generator=rng)
    return LatentCache(index, shards, [{"prompt_embeds": embeds, "pooled": pooled}], prompts)


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
