"""Makes the plan of Table 1: counts on the published architecture, looks for what is missing, does nothing."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT
from repro.harness.needs import Need
from repro.harness.plan import finishing, latent_side
from repro.harness.profile import Profile
from repro.harness.work_plan import Plan, RowPlan
from repro.kinds.upscaling.declare import Cell, UpscalingTable
from repro.kinds.upscaling.options import UpscalingOptions
from repro.metrics import weights
from repro.stages import hub
from repro.stages.images import text_encoders
from repro.stages.random_weights import random_pipeline
from repro.worlds.base import World, load_world
from swd.backbones import backbone_of, denoiser_of
from swd.cost import decode_cost, encode_cost, prompt_cost, schedule_cost, weight_bytes
from swd.flow import NUM_TIMESTEPS
from swd.sampler import finishing_levels
from swd.schedule import ScaleSchedule


def planned(table: UpscalingTable, profile: Profile, options: UpscalingOptions) -> Plan:
    """The plan of a table in a profile.

    Args:
        table: rows and noise levels.
        profile: narrowed to what is measured.
        options: of the command.
    """
    world = load_world(profile, ROOT)
    prompts = tuple(world.prompt_plans())
    return Plan(
        title=table.title,
        profile=f"In profile `{profile.name}`: {profile.caption}",
        command=options.command.replace(" --dry-run", ""),
        rows=_rows(table, profile),
        prompts=prompts,
        needs=tuple(_needs(profile, world)),
        tflops=options.tflops,
        free_bytes=shutil.disk_usage(_existing(options.work)).free,
    )


def _rows(table: UpscalingTable, profile: Profile) -> tuple[RowPlan, ...]:
    pipeline = _skeleton(profile)
    images = table.images_of_set(profile) * len(profile.prompt_sets)
    return tuple(
        replace(
            _row(table.in_profile(cell, profile), timestep, profile, pipeline, images), key=f"{cell.key} t{timestep}"
        )
        for cell in table.cells
        for timestep in table.timesteps
    )


def _row(cell: Cell, timestep: int, profile: Profile, pipeline: Any, images: int) -> RowPlan:
    steps = flops = memory = None
    if pipeline is not None:
        ladder = _ladder(pipeline, profile, cell, timestep)
        steps, (flops, memory) = ladder.num_steps, _cost(pipeline, profile, cell.side, ladder)
    return RowPlan(
        key=f"{cell.key} t{timestep}",
        label=f"{cell.order} from {cell.side}, t = {timestep}",
        model=profile.weights.pipeline,
        steps=steps,
        images=images,
        flops=flops,
        memory_bytes=memory,
        side=profile.data.resolution,
        encoding=profile.execution.encoding if profile.execution else "png",
    )


def _skeleton(profile: Profile) -> Any:
    """The published architecture without weights; None where the profile does not have one."""
    execution = profile.required(profile.execution, "batch size and dtype of images")
    if profile.weights.architecture is None:
        return None
    dtype = torch.float32 if execution.dtype == "float32" else torch.bfloat16  # float16 counts as bfloat16
    return random_pipeline(profile.weights.architecture, torch.device("meta"), dtype)


def _ladder(pipeline: Any, profile: Profile, cell: Cell, timestep: int) -> ScaleSchedule:
    """Sides of all evaluations: E takes one more than the rest, at the side that it starts from."""
    plan, side = finishing(profile), latent_side(profile)
    levels = finishing_levels(denoiser_of(pipeline), (side, side), timestep / NUM_TIMESTEPS, num_steps=plan.steps)
    scales = (side,) * (len(levels) - 1)
    if cell.order == "E":
        return ScaleSchedule((cell.side, *scales), (1.0, *levels))
    return ScaleSchedule(scales, (1.0, *levels[1:]))


def _cost(pipeline: Any, profile: Profile, start: int, ladder: ScaleSchedule) -> tuple[int, int]:
    """FLOPs of one image, and memory of a batch: weights, and what the largest part works with."""
    backbone, denoiser = backbone_of(pipeline), denoiser_of(pipeline)
    execution = profile.required(profile.execution, "batch size and dtype of images")
    length, side = backbone.token_length(pipeline), ladder.scales[-1]
    tokens, guided = backbone.count_text_tokens(pipeline, length), finishing(profile).is_guided

    def parts(images: int) -> list[Any]:
        steps = schedule_cost(denoiser, ladder, batch=images, text_tokens=tokens, guidance=guided)
        text, pixels = prompt_cost(pipeline, length, batch=images), decode_cost(pipeline.vae, side, batch=images)
        return [text, encode_cost(pipeline.vae, start, batch=1), steps, pixels]

    kept = weight_bytes(denoiser.network, pipeline.vae, *text_encoders(pipeline))
    batch = parts(execution.batch_size)
    return sum(cost.flops for cost in parts(1)), kept + max(cost.peak_bytes for cost in batch)


def _needs(profile: Profile, world: World) -> Iterator[Need]:
    if profile.scorers:
        base = profile.weights.base
        yield Need(
            name=str(base),
            why="every row",
            command=hub.command(base, hub.pipeline_files()),
            terms=str(weights.TERMS.get(base.repo) or ""),
            missing=hub.find(base, ROOT) is None,
        )
    others = list(world.needs())
    yield from others
    if any(need.missing for need in others) or not (problem := _photographs(profile, world)):
        return
    yield Need(name="real images behind the prompts", why=problem, command="# docs/data.md", missing=True)


def _photographs(profile: Profile, world: World) -> str:
    """What is wrong with the real images that latents are made of; statistics of them are not enough."""
    try:
        for prompts in profile.prompt_sets:
            world.check_real_images(world.prompts(prompts.key))
    except ExperimentError as error:
        return str(error)
    return ""


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)
