"""What the rows of a table cost, counted on architectures without weights: tokens, FLOPs, memory of a GPU."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch

from repro.harness.experiment import RELATIVE_FLOPS, TOKENS, Row
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.sampling import SamplingPlan
from repro.harness.schema import Record, Run
from repro.harness.systems import System
from repro.kinds.scores.available import system_of
from repro.kinds.scores.cards import student_card
from repro.kinds.scores.options import ScoresOptions
from repro.profiles import load_profile
from repro.stages import compute
from repro.stages.images import text_encoders
from repro.stages.random_weights import random_pipeline, random_tiny_vae
from swd.backbones import backbone_of, backbone_of_folder, denoiser_of, loading
from swd.backbones.base import Denoiser
from swd.cost import decode_cost, prompt_cost, schedule_cost, weight_bytes
from swd.grid import GRIDS
from swd.schedule import ScaleSchedule
from swd.training import DistillConfig
from swd.training.cost import training_cost

COUNTED = (
    "objective",
    "fake_updates",
    "feature_block",
    "pdm_features",
    "rank",
    "consistency_decay",
    "share_student_pass",
    "share_fake_pass",
)  # options of a training that say which passes it makes, beside the losses


@dataclass(frozen=True, slots=True)
class RowCost:
    """Of one image.

    Attributes:
        tokens: image tokens summed over all passes of the network.
        network_flops: of all passes of the network.
        flops: of text, network and decoding; None where only the network was counted.
        memory_bytes: weights of all networks, and what the largest works with for a batch; None likewise.
    """

    tokens: int
    network_flops: int
    flops: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A network without weights, and the length of its texts."""

    denoiser: Denoiser
    text_tokens: int

    @classmethod
    @cache
    def of_folder(cls, folder: Path) -> Self:
        """That of a pipeline on this machine, one object for one folder; its weights are not read."""
        backbone = backbone_of_folder(folder)
        pipeline = loading.load_parts(folder)
        return cls(backbone.skeleton(folder), backbone.count_text_tokens(pipeline, backbone.token_length(pipeline)))


def network_cost(plan: SamplingPlan, skeleton: Skeleton) -> RowCost:
    """Of a row that is sampled by a network of the profile."""
    flops = compute.flops(plan, skeleton.denoiser, skeleton.text_tokens)
    return RowCost(compute.tokens(plan, skeleton.denoiser), flops)


def row_cost(profile: Profile, row: Row, options: ScoresOptions) -> RowCost | None:
    """Of a row of a published profile, on the published architecture; None for images that were sampled elsewhere."""
    if row.images or row.key in options.images:
        return None
    execution = profile.required(profile.execution, "batch size and dtype of images")
    system = system_of(profile, row, options)
    pipeline = _random(system.architecture, execution.tiny_vae, getattr(torch, execution.dtype).itemsize)
    schedule = resolve(profile, row).sample.schedule if row.is_student else None
    ladder = schedule or _ladder(system, pipeline)
    return _counted(pipeline, ladder, execution.batch_size, guided=system.is_guided)


def compute_records(run: Run, costs: Sequence[tuple[Row, RowCost | None]]) -> Iterator[Record]:
    """Image tokens and FLOPs; where the teacher is a row, FLOPs relative to it."""
    teacher = next((cost for row, cost in costs if row.is_whole_teacher), None)
    for row, cost in costs:
        if cost is not None:
            yield Record.of(run, row.key, TOKENS.key, float(cost.tokens), unit="tokens")
            if teacher is not None:
                yield Record.of(run, row.key, RELATIVE_FLOPS.key, cost.network_flops / teacher.network_flops)


def training_flops(config: DistillConfig, skeleton: Skeleton) -> int:
    """Of a distillation, forward and backward, without the optimisers'."""
    return config.iterations * config.batch_size * _iteration(skeleton, _counted_options(config))


@cache
def published_skeleton(name: str) -> Skeleton:
    """The network of a published profile, on its published architecture."""
    pipeline = _random(name, False, torch.bfloat16.itemsize)
    backbone = backbone_of(pipeline)
    return Skeleton(denoiser_of(pipeline), backbone.count_text_tokens(pipeline, backbone.token_length(pipeline)))


def _counted_options(config: DistillConfig) -> DistillConfig:
    """What passes are made of, in one spelling: rates, seeds and how a kernel is computed move no FLOPs worth counting.

    Steps of one side cost the same whatever their noise levels.
    """
    options: dict[str, Any] = {name: getattr(config, name) for name in COUNTED}
    grid, scales = config.teacher_grid, config.schedule().scales
    name = next(name for name, known in GRIDS.items() if known.process == grid.process)
    options |= {"grid": name, "grid_steps": grid.num_steps}
    options |= {"scales": scales, "boundaries": (*range(len(scales)), grid.num_steps)}
    options |= {name: float(getattr(config, name) > 0) for name in ("weight_pdm", "weight_dmd", "weight_gan")}
    return DistillConfig(preset="counted", **options)


@cache
def _iteration(skeleton: Skeleton, config: DistillConfig) -> int:
    """FLOPs of an iteration for every image of its batch."""
    passes = training_cost(skeleton.denoiser, config, text_tokens=skeleton.text_tokens)
    return sum(cost.flops for cost in passes.values())


def _ladder(system: System, pipeline: Any) -> ScaleSchedule:
    """Sides of the steps of a system; only a scale-wise student has several. Its sigmas play no part here."""
    side = system.resolution // pipeline.vae_scale_factor
    card = student_card(system.student) if system.student is not None else None
    if card is not None and card.scales is not None:
        sides = tuple(scale * side // card.scales[-1] for scale in card.scales)
    else:
        sides = (side,) * system.steps
    return ScaleSchedule(sides, tuple(1 - step / len(sides) for step in range(len(sides) + 1)))


def _counted(pipeline: Any, ladder: ScaleSchedule, batch: int, *, guided: bool) -> RowCost:
    backbone, denoiser = backbone_of(pipeline), denoiser_of(pipeline)
    length = backbone.token_length(pipeline)
    tokens, side = backbone.count_text_tokens(pipeline, length), ladder.scales[-1]

    def parts(images: int) -> list[Any]:
        steps = schedule_cost(denoiser, ladder, batch=images, text_tokens=tokens, guidance=guided)
        return [prompt_cost(pipeline, length, batch=images), steps, decode_cost(pipeline.vae, side, batch=images)]

    one, working = parts(1), max(cost.peak_bytes for cost in parts(batch))
    weights = weight_bytes(denoiser.network, pipeline.vae, *text_encoders(pipeline))
    passes = 2 if guided and not denoiser.embeds_guidance else 1
    return RowCost(
        tokens=passes * ladder.num_tokens(denoiser.patch_size),
        network_flops=one[1].flops,
        flops=sum(cost.flops for cost in one),
        memory_bytes=weights + working,
    )


@cache
def _random(name: str, tiny_vae: bool, width: int) -> Any:
    """Rows share few architectures. float16 counts as bfloat16: values of ``width`` bytes."""
    profile = load_profile(name)
    architecture = profile.required(profile.weights.architecture, "architecture to count")
    meta, dtype = torch.device("meta"), torch.float32 if width == torch.float32.itemsize else torch.bfloat16
    pipeline = random_pipeline(architecture, meta, dtype)
    if tiny_vae:
        pipeline.vae = random_tiny_vae(architecture, meta, dtype)
    return pipeline
