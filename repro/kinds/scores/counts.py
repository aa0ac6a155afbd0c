"""What the rows of a table will cost, counted on architectures without weights: FLOPs of an image, memory of a GPU."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from repro.harness.experiment import Row
from repro.harness.files import ROOT
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.systems import HubFile, System
from repro.profiles import load_profile
from repro.stages import hub
from repro.stages.images import text_encoders
from repro.stages.random_weights import random_pipeline, random_tiny_vae
from swd.backbones import backbone_of, denoiser_of, loading
from swd.cost import decode_cost, prompt_cost, schedule_cost, weight_bytes
from swd.cost.counting import Cost
from swd.cost.meta import on_meta
from swd.lora.released import released_card
from swd.schedule import ScaleSchedule

DTYPES = {2: torch.bfloat16, 4: torch.float32}  # by the bytes of a value; float16 counts as bfloat16


@dataclass(frozen=True, slots=True)
class ImageCost:
    """Of one row.

    Attributes:
        flops: of one image: text, all passes of the network, decoding.
        memory_bytes: weights of all networks, and what the largest of them works with for a batch.
    """

    flops: int
    memory_bytes: int


def image_cost(profile: Profile, row: Row) -> ImageCost | None:
    """What an image of a row costs in a profile; None for images that were sampled elsewhere."""
    if row.images:
        return None
    batch = profile.required(profile.execution, "batch size and dtype of images").batch_size
    if row.system is not None:
        pipeline = _architecture(load_profile(row.system.architecture), tiny_vae=False, width=2)
        return _counted(pipeline, system_schedule(row.system, pipeline), batch, guided=row.system.is_guided)
    plan = resolve(profile, row).sample
    pipeline = _pipeline(profile)
    ladder = plan.ladder(denoiser_of(pipeline).network.config.sample_size or 128)
    return _counted(pipeline, ladder, batch, guided=plan.is_guided)


def system_schedule(system: System, pipeline: Any) -> ScaleSchedule:
    """Sides of the steps of a system; only a scale-wise student has several. Its sigmas play no part here."""
    side = system.resolution // pipeline.vae_scale_factor
    card = released_card(system.student.repo) if system.student is not None else None
    if card is not None and card.scales is not None:
        sides = tuple(scale * side // card.scales[-1] for scale in card.scales)
    else:
        sides = (side,) * system.steps
    return ScaleSchedule(sides, tuple(1 - step / len(sides) for step in range(len(sides) + 1)))


def _counted(pipeline: Any, ladder: ScaleSchedule, batch: int, *, guided: bool) -> ImageCost:
    backbone, denoiser = backbone_of(pipeline), denoiser_of(pipeline)
    length = backbone.token_length(pipeline)
    tokens = backbone.count_text_tokens(pipeline, length)
    one = _parts(pipeline, ladder, 1, (length, tokens), guided)
    all_of_batch = _parts(pipeline, ladder, batch, (length, tokens), guided)
    weights = weight_bytes(denoiser.network, pipeline.vae, *text_encoders(pipeline))
    return ImageCost(sum(cost.flops for cost in one), weights + max(cost.peak_bytes for cost in all_of_batch))


def _parts(pipeline: Any, ladder: ScaleSchedule, batch: int, text: tuple[int, int], guided: bool) -> list[Cost]:
    steps = schedule_cost(denoiser_of(pipeline), ladder, batch=batch, text_tokens=text[1], guidance=guided)
    return [
        prompt_cost(pipeline, text[0], batch=batch),
        steps,
        decode_cost(pipeline.vae, ladder.scales[-1], batch=batch),
    ]


def _pipeline(profile: Profile) -> Any:
    execution = profile.required(profile.execution, "batch size and dtype of images")
    width = getattr(torch, execution.dtype).itemsize
    if profile.weights.architecture is not None:
        return _architecture(profile, tiny_vae=execution.tiny_vae, width=width)
    place = hub.require(HubFile(profile.weights.pipeline, revision=profile.weights.revision), ROOT)
    return _without_weights(place, width)


def _architecture(profile: Profile, *, tiny_vae: bool, width: int) -> Any:
    return _random(profile.name, tiny_vae, width)


@cache
def _random(name: str, tiny_vae: bool, width: int) -> Any:
    """Rows share few architectures."""
    architecture = load_profile(name).weights.architecture
    assert architecture is not None
    meta, dtype = torch.device("meta"), DTYPES[width]
    pipeline = random_pipeline(architecture, meta, dtype)
    if tiny_vae:
        pipeline.vae = random_tiny_vae(architecture, meta, dtype)
    return pipeline


@cache
def _without_weights(folder: Path, width: int) -> Any:
    pipeline = loading.load_pipeline(folder)
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            setattr(pipeline, name, on_meta(part, DTYPES[width]))
    return pipeline
