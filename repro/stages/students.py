"""Student stage: distil the adapters of a table, or take the ones that ship."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import digest_folder
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.stages.images import load_pipeline
from repro.stages.store import StageStore
from repro.worlds.base import World
from swd.backbones import backbone_of_folder, denoiser_of
from swd.data import LatentCache, build_cache, cache_ladder
from swd.data.layout import SCHEMA
from swd.lora.files import ADAPTER_FILE, check_adapter_fits, read_adapter
from swd.training import DistillConfig, train
from swd.training.config import differences

STAGE, CACHE_STAGE, VERSION = "students", "latents", 1


def shipped_training(profile: Profile, row: Row) -> DistillConfig:
    """The training of a row among the adapters that come with the repository.

    Raises:
        ExperimentError: the profile ships none, or its options are not possible.
    """
    shipped = profile.required(profile.weights.adapters, "adapters that ship")
    return resolve(replace(profile, distil=shipped.distil), row, profile.seeds[0]).training


def shipped_adapter(root: Path, profile: Profile, row: Row) -> Path:
    """Folder of the adapter that comes with the repository.

    Raises:
        ExperimentError: it is not there, or the profile ships none.
    """
    folder = root / profile.required(profile.weights.adapters, "adapters that ship").folder / row.variant
    if not (folder / ADAPTER_FILE).is_file():
        raise ExperimentError(f"no adapter for {row.variant} in {folder}; distil it with --retrain, or run nox -s mini")
    return folder


def check_adapter(folder: Path, pipeline: Path, wanted: DistillConfig) -> None:
    """Refuse an adapter that is broken, belongs to another network or was trained otherwise; loads no pipeline.

    Args:
        folder: of the adapter.
        pipeline: of the network that it must fit.
        wanted: the training that its row asks for.

    Raises:
        ExperimentError: it is truncated, no adapter, of another shape, or of another training; the message names the
            file, and the options that differ.
    """
    denoiser = backbone_of_folder(pipeline).skeleton(pipeline)
    try:
        state, metadata = read_adapter(folder)
        check_adapter_fits(denoiser, state, metadata["rank"])
    except ValueError as error:
        raise ExperimentError(f"{folder}: {error}") from error
    if changed := differences(metadata.get("config", {}), wanted):
        raise ExperimentError(f"{folder} was trained otherwise: {'; '.join(changed)}; distil it with --retrain")


def distil(
    store: StageStore, world: World, row: Row, *, seed: int, rows: tuple[Row, ...], device: torch.device
) -> Path:
    """Train the adapter of a row, or find it finished.

    Args:
        store: where finished stages are; an interrupted training resumes from its last state.
        world: gives the training images.
        row: which student.
        seed: training seed.
        rows: all rows of the table; they share one latent cache.
        device: where to train.

    Returns:
        Folder of the adapter.
    """
    profile = world.profile
    config = resolve(profile, row, seed).training
    pipeline_folder = world.root / profile.weights.pipeline
    inputs = {
        "version": VERSION,
        "config": config.as_json(),
        "pipeline": digest_folder(pipeline_folder),
        "data": {**world.fingerprint(), "images": profile.data.training_images},
        "device": device.type,
    }
    folder = store.folder(STAGE, inputs)
    adapter = folder / "final"
    if not store.done(STAGE, inputs) or not (adapter / ADAPTER_FILE).is_file():
        pipeline = load_pipeline(pipeline_folder, "float32", device)
        cache = latent_cache(store, world, rows, pipeline, inputs["pipeline"])
        accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=config.mixed_precision)
        train(config, denoiser_of(pipeline), cache, folder, accelerator=accelerator)
        store.finish(STAGE, inputs)
    return adapter


def latent_cache(
    store: StageStore, world: World, rows: tuple[Row, ...], pipeline: Any, pipeline_digest: str
) -> LatentCache:
    """Latents at every scale that any student of the table needs, encoded once for all of them."""
    plans = [resolve(world.profile, row) for row in rows]
    scales, pairs = cache_ladder([plan.train.schedule().scales for plan in plans if plan.train is not None])
    count = world.profile.data.training_images
    inputs = {
        "version": VERSION,
        "cache_schema": SCHEMA,
        **world.fingerprint(),
        "pipeline": pipeline_digest,
        "images": count,
        "scales": scales,
        "pairs": pairs,
    }
    folder = store.folder(CACHE_STAGE, inputs)
    if not store.done(CACHE_STAGE, inputs):
        images, captions, source = world.training_images()
        build_cache(images, captions, pipeline, scales, folder, pairs=pairs, source=source)
        store.finish(CACHE_STAGE, inputs)
    return LatentCache.open(folder)
