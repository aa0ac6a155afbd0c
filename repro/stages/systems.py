"""Samples a published system through diffusers, with the settings that its authors publish."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL.Image import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from repro.harness.experiment import ExperimentError
from repro.harness.systems import HubFile, System
from repro.metrics import Prompt
from repro.stages import hub
from repro.stages.images import Generate, Unusable, finished
from swd.backbones import backbone_of_folder, loading
from swd.errors import AdapterError, PipelineError
from swd.lora.card import StudentCard
from swd.lora.files import open_adapter
from swd.lora.fitting import check_fits
from swd.lora.released import released_card
from swd.sampler import seed_rngs

VERSION = 2  # raise it when the same system and seed give another image
_BROKEN = (OSError, ValueError, RuntimeError, TypeError, SafetensorError, pickle.UnpicklingError)


def system_inputs(system: System, root: Path) -> dict[str, Any]:
    """All that its images follow from: settings, and hashes of its files.

    Raises:
        WeightsError: a file is not to be had.
    """
    return {
        "version": VERSION,
        "files": {
            str(source): hub.digest(_place(system, source, root), variant=system.variant) for source in system.sources
        },
        "steps": system.steps,
        "guidance": system.guidance_scale,
        "resolution": system.resolution,
        "lora_scale": system.lora_scale,
        "scheduler": {"name": system.scheduler, **system.scheduler_options},
        "call": dict(system.call),
        "variant": system.variant,
        **({} if system.until is None else {"until": system.until}),
    }


def check_student(system: System, root: Path) -> None:
    """Refuse a student that is not one of the base's network; no weights of the base are read.

    Raises:
        WeightsError: a file is not to be had.
        ExperimentError: it is broken, or of another network; names both, and the first layer that differs.
    """
    if system.student is None:
        return
    folder, place = _place(system, system.base, root), hub.require(system.student, root)
    try:
        backbone = backbone_of_folder(folder)
        adapter = open_adapter(place, backbone.layer_names)
        card = StudentCard.from_header(adapter.header) or released_card(system.student.repo)
        if card is not None and card.backbone not in (None, backbone.name):
            raise AdapterError(f"it says that it is a student of {card.backbone}, expected {backbone.name}")
        network = backbone.skeleton(folder).network
        check_fits(network, adapter.layers, targets=adapter.targets, source=adapter.source)
    except (PipelineError, *_BROKEN) as error:
        raise ExperimentError(f"{system.student} is no student of {system.base}: {error}") from error


def load_system(system: System, root: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """Its pipeline with all weights in place, without progress bars and without a safety checker's black images.

    Raises:
        WeightsError: a file is not to be had.
        ExperimentError: it is broken, of another network, or asks for code to be run.
    """
    base = _place(system, system.base, root)
    try:
        if system.student is not None:
            pipeline = loading.load_pipeline(base, dtype=dtype, variant=system.variant)
            pipeline.load_lora_weights(hub.require(system.student, root))
        else:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(base, dtype=dtype, variant=system.variant)
            _put_weights(pipeline, system, root)
            _put_scheduler(pipeline, system)
    except (AdapterError, PipelineError, *_BROKEN) as error:
        raise ExperimentError(f"cannot load {system.base} as this row wants it: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def system_generator(system: System, pipeline: Any) -> Generate:
    """The function from prompts to RGB images; each follows from its own seed alone.

    Pixels are taken as tensors, because diffusers' own conversion to PIL makes black pixels of NaN. It rounds 255 x to
    the nearest level, as `finished` does: whole images have the same bits.

    Args:
        system: its settings.
        pipeline: of `load_system`.
    """
    sample = _student_call if system.student is not None else _diffusers_call
    arguments = {**system.call, "output_type": "pt"}
    if system.guidance_scale is not None:
        arguments["guidance_scale"] = system.guidance_scale

    @torch.no_grad()
    def generate(prompts: Sequence[Prompt]) -> list[Image | Unusable]:
        return finished(sample(system, pipeline, prompts, arguments))

    return generate


def network_of(pipeline: Any) -> Any:
    """The network that is evaluated at every step, of any pipeline of diffusers."""
    transformer = getattr(pipeline, "transformer", None)
    return pipeline.unet if transformer is None else transformer


def _place(system: System, source: HubFile, root: Path) -> Path:
    return hub.require(source, root, hub.files_of(system, source))


def _student_call(system: System, pipeline: Any, prompts: Sequence[Prompt], arguments: dict[str, Any]) -> Any:
    captions, seeds = [prompt["caption"] for prompt in prompts], [prompt["seed"] for prompt in prompts]
    schedule = pipeline.student.schedule() if pipeline.student is not None else None
    if schedule is not None and system.until is not None:
        schedule = schedule.until(system.until)
    if schedule is None or schedule.num_steps != system.steps:
        found = "no schedule" if schedule is None else f"{schedule.num_steps} steps"
        raise ExperimentError(f"{system.student} brings {found}, this row has {system.steps}")
    call = partial(pipeline, captions, seeds=seeds, truncate=True)
    return call(**arguments).images if system.until is None else _stopped(pipeline, call, system.steps, arguments)


def _stopped(pipeline: Any, call: Callable[..., Any], steps: int, arguments: Mapping[str, Any]) -> Tensor:
    """What x0 of an early step decodes to; the call is that of whole images, which may tell the network their size."""
    kept: list[Tensor] = []

    def stop(step: int, x_t: Tensor, x0: Tensor) -> None:
        if step + 1 == steps:
            kept.append(x0)
            pipeline._interrupt = True

    call(**{**arguments, "output_type": "latent"}, on_step=stop)
    return pipeline.decode(kept[0], output_type="pt")


def _diffusers_call(system: System, pipeline: Any, prompts: Sequence[Prompt], arguments: dict[str, Any]) -> Any:
    return pipeline(
        prompt=[prompt["caption"] for prompt in prompts],
        num_inference_steps=system.steps,
        height=system.resolution,
        width=system.resolution,
        generator=seed_rngs([prompt["seed"] for prompt in prompts]),
        **arguments,
    ).images


def _put_weights(pipeline: Any, system: System, root: Path) -> None:
    if system.network is not None:
        network_of(pipeline).load_state_dict(_read(hub.require(system.network, root)))
    if system.lora is not None:
        file = hub.require(system.lora, root)
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
        pipeline.fuse_lora(lora_scale=system.lora_scale)
        pipeline.unload_lora_weights()


def _put_scheduler(pipeline: Any, system: System) -> None:
    if system.scheduler:
        kind = getattr(diffusers, system.scheduler)
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **system.scheduler_options)


def _read(file: Path) -> dict[str, torch.Tensor]:
    """Weights of a file; a pickle is read as tensors alone and runs nothing."""
    if file.suffix == ".safetensors":
        return load_file(file)
    state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state
