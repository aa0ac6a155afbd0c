"""Seconds per training iteration of every student of Table 3, by the trainer itself."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from repro.harness.experiment import Row
from repro.harness.latency import LOSSES
from repro.measure.students import distil_config
from repro.measure.subject import Subject
from swd.models.sd3 import SD3Denoiser
from swd.schedule import preset
from swd.training import DistillConfig, LatentCache, build_cache, cache_ladder, train


def training_times(subject: Subject, students: Sequence[Row], folder: Path) -> dict[str, list[float]]:
    """Student and loss, as "key loss" -> mean seconds of an iteration in every round; students take turns.

    Args:
        subject: what is distilled, on the data of `_cache`.
        students: rows.
        folder: for the cache and the states of the trainings.
    """
    cache = _cache(subject, students, folder / "cache")
    found: dict[str, list[float]] = {f"{row.key} {loss}": [] for row in students for loss in LOSSES}
    for round_ in tqdm(range(subject.protocol.train_rounds), desc="training", leave=False):
        for row in students:
            for loss, options in LOSSES.items():
                config = replace(distil_config(subject.profile, row, 0), progress=False, **options)
                taken = _cycle(subject, config, cache, round_, folder / f"{row.key}-{loss}")
                found[f"{row.key} {loss}"].append(taken)
    return found


def _cycle(subject: Subject, config: DistillConfig, cache: LatentCache, round_: int, folder: Path) -> float:
    """Mean seconds of an iteration over a cycle of the schedule; the iteration before it warms up."""
    steps = config.schedule().num_steps
    config = replace(config, iterations=(round_ + 1) * (steps + 1), checkpoint_every=steps + 1, keep_last=1)
    result = train(config, SD3Denoiser(subject.fresh_transformer()), cache, folder, resume=round_ > 0)
    log = [json.loads(line) for line in result.log.read_text().splitlines()]
    return sum(line["seconds"] for line in log[-steps:]) / steps


def _cache(subject: Subject, students: Sequence[Row], folder: Path) -> LatentCache:
    """One batch of random images: what they show does not move a clock."""
    scales, pairs = cache_ladder([preset(subject.profile.preset(row) or "").scales for row in students])
    count, resolution = subject.profile.settings["distil"]["batch_size"], subject.profile.settings["resolution"]
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, resolution, resolution), generator=rng, dtype=torch.uint8)
    return build_cache(
        images,
        subject.captions(count),
        subject.pipeline,
        scales,
        folder,
        pairs=pairs,
        source="random images",
        max_sequence_length=subject.text_length,
        truncate=True,
        progress=False,
    )
