"""Seconds per training iteration of every student of Table 3, by the trainer itself."""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
from diffusers.utils.peft_utils import recurse_remove_peft_layers
from tqdm import tqdm

from repro.harness.experiment import ExperimentError
from repro.kinds.latency.declare import LOSSES, TimedRow
from repro.kinds.latency.timed_pipeline import TimedPipeline
from repro.stages.one_process import lone_accelerator
from repro.stages.timing import GIB, PeakMemory, free_bytes, is_out_of_memory
from swd.backbones import denoiser_of
from swd.backbones.base import Denoiser
from swd.data import LatentCache, build_cache, cache_ladder
from swd.schedule import preset_spec
from swd.training import DistillConfig, train

Rounds = dict[str, list[dict[str, float]] | str]  # by loss: seconds and bytes of every round, or why there are none
Times = dict[str, Rounds]


def training_times(model: TimedPipeline, students: Sequence[TimedRow], folder: Path) -> Times:
    """Student -> loss -> mean seconds of an iteration and peak memory of every round, or why there are none.

    Students take turns within a round. The loaded pipeline is let go of.

    Args:
        model: what is distilled.
        students: rows.
        folder: for the cache, and for each training while it lasts.
    """
    model.release()
    needed, free = model.weights_to_load(), free_bytes(model.device)
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
                cycle = partial(_cycle, config, teacher, cache, folder, warmup=model.protocol.warmup > 0)
                _add(found[timed.key], loss, config, cycle)
                recurse_remove_peft_layers(teacher.network)  # the next training starts from the teacher itself
                gc.collect()  # adapters refer to the network that they were on, and back
    return found


def training(model: TimedPipeline, timed: TimedRow, changes: Mapping[str, Any] = MappingProxyType({})) -> DistillConfig:
    """The training of a student under the protocol, with a few options changed."""
    config, protocol = replace(model.plan(timed).training, **changes), model.protocol
    if protocol.train_batch is not None:
        config = replace(config, batch_size=protocol.train_batch)
    return config if protocol.train_steps is None else _first_steps(config, protocol.train_steps)


def _first_steps(config: DistillConfig, count: int) -> DistillConfig:
    """The first steps of the schedule as one of their own: each trains as it does within the whole."""
    spec = preset_spec(config.preset)
    scales, boundaries = config.scales or spec.scales, config.boundaries or spec.boundaries
    if boundaries is None:
        raise ExperimentError(f"the schedule {config.preset} has no boundaries, so no part of it can be trained alone")
    return replace(config, scales=scales[:count], boundaries=(*boundaries[:count], boundaries[-1]))


def _untimed(students: Sequence[TimedRow], reason: str) -> Times:
    return {timed.key: dict.fromkeys(LOSSES, reason) for timed in students}


def _add(found: Rounds, loss: str, config: DistillConfig, cycle: Callable[[], dict[str, float]]) -> None:
    """One round of one training; memory that runs out ends that training alone."""
    taken = found[loss]
    if isinstance(taken, str):
        return
    try:
        taken.append(cycle())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found[loss] = f"Out of memory at batch size {config.batch_size}."


def _cycle(
    config: DistillConfig, teacher: Denoiser, cache: LatentCache, folder: Path, *, warmup: bool
) -> dict[str, float]:
    """Mean seconds of an iteration over a cycle of the schedule, after one that warms up; and peak memory."""
    steps = config.schedule().num_steps
    iterations = steps + warmup
    config = replace(config, iterations=iterations, checkpoint_every=iterations, keep_last=1)
    memory = PeakMemory(teacher.network.device)
    memory.restart()
    accelerator = lone_accelerator(teacher.network.device, config.mixed_precision)
    with TemporaryDirectory(dir=folder) as output:
        result = train(config, teacher, cache, Path(output), accelerator=accelerator)
        log = [json.loads(line) for line in result.log.read_text().splitlines()]
    return {"seconds": sum(line["seconds"] for line in log[-steps:]) / steps, "bytes": memory.bytes()}


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
