"""Seconds per training iteration of every student of Table 3, by the trainer itself."""

import copy
import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from repro.kinds.latency.declare import LOSSES, TimedRow
from repro.kinds.latency.timed_pipeline import TimedPipeline
from repro.stages.timing import GIB, free_bytes, is_out_of_memory
from swd.backbones import denoiser_of
from swd.backbones.base import Denoiser
from swd.data import LatentCache, build_cache, cache_ladder
from swd.training import DistillConfig, train

Rounds = dict[str, list[float] | str]  # by loss
Times = dict[str, Rounds]


def training_times(model: TimedPipeline, students: Sequence[TimedRow], folder: Path) -> Times:
    """Student -> loss -> mean seconds of an iteration in every round, or why there are none.

    Students take turns within a round. The loaded pipeline is let go of.

    Args:
        model: what is distilled.
        students: rows.
        folder: for the cache, and for each training while it lasts.
    """
    model.release()
    needed, free = model.weights_to_load(copies=2), free_bytes(model.device)
    if needed > free:
        return _untimed(students, f"Needs more than {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB were free.")
    try:
        teacher, cache = _loaded(model, students, folder / "cache")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return _untimed(students, "Out of memory before training.")
    found: Times = {timed.key: {loss: [] for loss in LOSSES} for timed in students}
    for _ in tqdm(range(model.protocol.train_rounds), desc="training", leave=False):
        for timed in students:
            for loss, options in LOSSES.items():
                config = replace(training(model, timed, options), progress=False)
                _add(found[timed.key], loss, config, teacher, cache, folder)
    return found


def training(model: TimedPipeline, timed: TimedRow, changes: Mapping[str, Any] = MappingProxyType({})) -> DistillConfig:
    """The training of a student, with a few options changed."""
    return replace(model.plan(timed).training, **changes)


def _untimed(students: Sequence[TimedRow], reason: str) -> Times:
    return {timed.key: dict.fromkeys(LOSSES, reason) for timed in students}


def _add(found: Rounds, loss: str, config: DistillConfig, teacher: Denoiser, cache: LatentCache, folder: Path) -> None:
    """One round of one training; memory that runs out ends that training alone."""
    taken = found[loss]
    if isinstance(taken, str):
        return
    try:
        taken.append(_cycle(config, copy.deepcopy(teacher), cache, folder))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found[loss] = f"Out of memory at batch size {config.batch_size}."
    gc.collect()  # adapters refer to the network that they are on, and back


def _cycle(config: DistillConfig, teacher: Denoiser, cache: LatentCache, folder: Path) -> float:
    """Mean seconds of an iteration over a cycle of the schedule; the iteration before it warms up."""
    steps = config.schedule().num_steps
    config = replace(config, iterations=steps + 1, checkpoint_every=steps + 1, keep_last=1)
    accelerator = Accelerator(cpu=teacher.network.device.type == "cpu", mixed_precision=config.mixed_precision)
    with TemporaryDirectory(dir=folder) as output:
        result = train(config, teacher, cache, Path(output), accelerator=accelerator)
        log = [json.loads(line) for line in result.log.read_text().splitlines()]
    return float(sum(line["seconds"] for line in log[-steps:]) / steps)


def _loaded(model: TimedPipeline, students: Sequence[TimedRow], folder: Path) -> tuple[Denoiser, LatentCache]:
    """Teacher, and one batch of random images: what they show does not move a clock."""
    pipeline = model.load(model.device)
    configs = [training(model, timed) for timed in students]
    scales, pairs = cache_ladder([config.schedule().scales for config in configs])
    count, resolution = configs[0].batch_size, model.profile.data.resolution
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, resolution, resolution), generator=rng, dtype=torch.uint8)
    cache = build_cache(
        images,
        model.captions(count),
        pipeline,
        scales,
        folder,
        pairs=pairs,
        source="random images",
        max_sequence_length=model.t5_tokens(pipeline),
        truncate=True,
        progress=False,
    )
    return denoiser_of(pipeline), cache
