"""Student stage: distil the adapters of a table, or take the ones that ship."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from repro.harness.experiment import ExperimentError, Row, TrainingData
from repro.harness.files import digest_folder, digest_json
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.stages.images import VERSION as IMAGES_VERSION
from repro.stages.images import generator_of, image_inputs, load_pipeline, make_images, network_inputs
from repro.stages.one_process import lone_accelerator
from repro.stages.stopping import STATE_MINUTES, stoppable
from repro.stages.store import StageStore, tell
from repro.worlds.base import World
from swd.backbones import backbone_of_folder, denoiser_of
from swd.backbones.base import Denoiser
from swd.data import LatentCache, build_cache, cache_ladder
from swd.data.layout import SCHEMA, CacheIndex
from swd.errors import CacheError, ConfigError, DivergedError, NonFiniteLossError
from swd.lora.files import ADAPTER_FILE, check_adapter_fits, read_adapter
from swd.training import DistillConfig, train
from swd.training.checks import check_fit, check_schedule
from swd.training.config import differences
from swd.training.state import LossLog, begin_from

STAGE, CACHE_STAGE, VERSION = "students", "latents", 1
"""The version of both; also where a default of ``DistillConfig`` changes, by which students are known."""
DRAWN_SEED = 50_000_000  # of the first image that the teacher draws to train on: no prompt has it
TEACHER = Row("teacher", "Teacher")
DIVERGED = "diverged"  # in the result of a stage: why there is no student


class StudentDiverged(Exception):
    """A training went astray: there is no student, which is a result, and the message says what happened."""


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
    """Train the adapter of a row, or find it finished; of several processes one trains and the others wait.

    Args:
        store: where finished stages are; an interrupted training resumes from its last state.
        world: gives the training images.
        row: which student.
        seed: training seed.
        rows: all rows of the table; they share one latent cache.
        device: where to train.

    Returns:
        Folder of the adapter.

    Raises:
        StudentDiverged: now, or when it was trained before.
        SystemExit, KeyboardInterrupt: a signal asked it to stop; a state is saved.
    """
    profile = world.profile
    plan = resolve(profile, row, seed)
    config = plan.training
    inputs = student_inputs(world, row, seed, device)
    adapter = store.folder(STAGE, inputs) / "final"

    def work() -> Mapping[str, Any]:
        pipeline = load_pipeline(world.root / profile.weights.pipeline, "float32", device)
        cache = latent_cache(store, world, rows, pipeline, inputs["pipeline"], data=plan.data)
        _begin_from_shorter(store, inputs)
        accelerator = lone_accelerator(device, config.mixed_precision)
        how: dict[str, Any] = {"accelerator": accelerator, "state_minutes": STATE_MINUTES}
        try:
            with stoppable() as stop:
                train(config, denoiser_of(pipeline), cache, adapter.parent, stop=stop, **how)
        except (NonFiniteLossError, DivergedError) as error:
            return {DIVERGED: str(error).partition(":")[0]}  # the rest is about files
        return {}

    if store.done(STAGE, inputs):
        lost = not (adapter / ADAPTER_FILE).is_file()
        if lost and DIVERGED not in store.result(STAGE, inputs):
            store.forget(STAGE, inputs)
    store.once(STAGE, inputs, work, files=(f"final/{ADAPTER_FILE}",))
    if reason := store.result(STAGE, inputs).get(DIVERGED):
        raise StudentDiverged(f"seed {seed} diverged: {reason}")
    return adapter


def student_inputs(world: World, row: Row, seed: int, device: torch.device) -> dict[str, Any]:
    """What a student follows from."""
    profile = world.profile
    plan = resolve(profile, row, seed)
    return {
        "version": VERSION,
        "config": plan.training.identity(),
        "pipeline": digest_folder(world.root / profile.weights.pipeline),
        "data": {
            **world.fingerprint(),
            "images": profile.data.training_images,
            **({} if plan.data == "world" else _drawn(profile)),
        },
        "device": device.type,
    }


def is_trained(store: StageStore, world: World, row: Row, seed: int, device: torch.device) -> bool:
    """Whether `distil` has no more to do, the student having diverged or not."""
    return store.finished(STAGE, student_inputs(world, row, seed, device))


def check_trainings(profile: Profile, rows: Iterable[Row], denoiser: Denoiser, device: torch.device) -> None:
    """Make sure that every student can be trained, before the first one is.

    Args:
        profile: in which they are.
        rows: students.
        denoiser: of the teacher; its weights play no part.
        device: that trains.

    Raises:
        ExperimentError: options of a row do not fit each other or the network; the message names the row.
    """
    for row in rows:
        config = resolve(profile, row).training
        try:
            check_schedule(config.schedule(), denoiser)
            check_fit(config, denoiser, 1, device)
        except ConfigError as error:
            raise ExperimentError(f"row {row.key} in profile {profile.name}: {error}") from error


def training_log(store: StageStore, world: World, row: Row, seed: int, device: torch.device) -> list[dict[str, Any]]:
    """Losses and seconds of every iteration of a training that is finished here."""
    return LossLog.in_folder(store.folder(STAGE, student_inputs(world, row, seed, device))).lines()


def _begin_from_shorter(store: StageStore, inputs: Mapping[str, Any]) -> None:
    """Take over the last state of the same training of fewer iterations, where one was finished here.

    How many are still to come changes no iteration, so the student is that of a training in one go, to the last bit
    where the machine repeats itself.
    """
    count = inputs["config"]["iterations"]
    shorter = {
        other["config"]["iterations"]: folder
        for folder, other in store.all_finished(STAGE)
        if other["config"]["iterations"] < count
        and {**other, "config": {**other["config"], "iterations": count}} == inputs
    }
    if shorter:
        begin_from(shorter[max(shorter)], store.folder(STAGE, inputs))


def latent_cache(
    store: StageStore,
    world: World,
    rows: tuple[Row, ...],
    pipeline: Any,
    pipeline_digest: str,
    *,
    data: TrainingData = "world",
) -> LatentCache:
    """Latents at every scale that any student of the table needs, encoded once for all of them.

    Args:
        store: where finished stages are.
        world: gives the images, or the captions that the teacher draws.
        rows: of the table.
        pipeline: the teacher's.
        pipeline_digest: hash of its files.
        data: whose images.
    """
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
        **({} if data == "world" else _drawn(world.profile)),
    }
    folder = store.folder(CACHE_STAGE, inputs)

    def build() -> None:
        _drop_torn_index(folder)
        images, captions, source = world.training_images()
        if data == "teacher":
            images, captions, source = _drawn_by_teacher(store, world, captions, pipeline, pipeline_digest)
        build_cache(images, captions, pipeline, scales, folder, pairs=pairs, source=source)

    store.done(CACHE_STAGE, inputs)  # takes note of a cache of before
    store.once(CACHE_STAGE, inputs, build)
    try:
        return LatentCache.open(folder)
    except CacheError as error:
        tell(f"{error}; what is damaged of it is made again")
        store.forget(CACHE_STAGE, inputs)
        store.once(CACHE_STAGE, inputs, build)
        return LatentCache.open(folder)


def _drop_torn_index(folder: Path) -> None:
    """The folder's name says what it holds: where its index does not, that is written again, and whole shards stay."""
    try:
        CacheIndex.read(folder)
    except CacheError:
        (folder / "index.json").unlink(missing_ok=True)


def _drawn(profile: Profile) -> dict[str, Any]:
    """What images that the teacher draws follow from, beside its weights and the captions."""
    execution = profile.required(profile.execution, "batch size and dtype of images")
    return {
        "drawn": {
            "images": profile.data.drawn_images,
            "first_seed": DRAWN_SEED,
            "sampling": resolve(profile, TEACHER).sample.as_json(),
            "dtype": execution.dtype,
            "version": IMAGES_VERSION,
        }
    }


def _drawn_by_teacher(
    store: StageStore, world: World, captions: Sequence[str], pipeline: Any, pipeline_digest: str
) -> tuple[Iterable[Tensor], list[str], str]:
    """Images that the teacher draws for captions of the training data, as tables sample it."""
    profile = world.profile
    execution = profile.required(profile.execution, "batch size and dtype of images")
    plan = resolve(profile, TEACHER).sample
    chosen = list(captions[: profile.data.drawn_images])
    prompts = [{"id": f"training-{n}", "caption": caption, "seed": DRAWN_SEED + n} for n, caption in enumerate(chosen)]
    own = network_inputs(pipeline_digest, None, plan)
    inputs = image_inputs(own, prompts, execution, torch.device(pipeline.device))
    drawn = make_images(
        store,
        inputs,
        prompts,
        lambda: generator_of(plan, pipeline, None),
        "training images by the teacher",
        batch_size=execution.batch_size,
        side=profile.data.resolution,
    )
    images = (pil_to_tensor(image) for batch, _ in drawn.batches() for image in batch)
    return images, chosen, f"drawn by the teacher, {digest_json(inputs)[:16]}"
