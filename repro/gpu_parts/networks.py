"""Whose sampling is timed: the true architectures with random weights, or the same in miniature."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from repro.gpu_parts.task import Task
from repro.profiles import (
    flux_architecture,
    sd35_architecture,
    sdxl_architecture,
    tiny_architecture,
)
from repro.stages.random_weights import random_pipeline
from swd.backbones.base import Condition, Denoiser
from swd.schedule import ScaleSchedule, preset

Architecture = Mapping[str, Any]
SMOKE_TOKENS = 8
_WHOLE: dict[str, Architecture] = {
    "sd35-medium": {**sd35_architecture.PIPELINE, "transformer": sd35_architecture.MEDIUM},
    "sd35-large": {**sd35_architecture.PIPELINE, "transformer": sd35_architecture.LARGE},
    "sdxl": sdxl_architecture.PIPELINE,
    "flux": flux_architecture.PIPELINE,
}
_TINY: dict[str, Architecture] = {
    "sd35-medium": {**tiny_architecture.SD35, "transformer": tiny_architecture.MEDIUM},
    "sd35-large": {**tiny_architecture.SD35, "transformer": tiny_architecture.LARGE},
    "sdxl": tiny_architecture.SDXL,
    "flux": tiny_architecture.FLUX,
}


def architecture(task: Task, model: str) -> Architecture:
    """Configs of the pipeline of a model."""
    return (_TINY if task.smoke else _WHOLE)[model]


def pipeline(task: Task, model: str, device: torch.device | None = None) -> Any:
    """A pipeline whose network samples; of SD3.5 without T5, since conditions are drawn and not encoded."""
    found = architecture(task, model)
    if found["backbone"] == "sd3":
        found = {**found, "text_encoders": found["text_encoders"][:2]}
    made = random_pipeline(found, device or task.device, task.dtype)
    made.set_progress_bar_config(disable=True)
    return made


def schedule(task: Task, name: str) -> ScaleSchedule:
    """A preset, at the task's scales."""
    found = preset(name)
    return replace(found, scales=tuple(scale // task.scope.shrink for scale in found.scales))


def text_tokens(task: Task, denoiser: Denoiser) -> int:
    """As many as are published, or a few."""
    return SMOKE_TOKENS if task.smoke else denoiser.backbone.text_tokens


def condition(task: Task, denoiser: Denoiser, batch: int) -> Condition:
    """Random rows of the shape of text; a clock does not read."""
    shapes = denoiser.backbone.condition_shapes(denoiser.network, text_tokens(task, denoiser))
    rng = torch.Generator().manual_seed(0)
    rows = {name: torch.randn(batch, *shape, generator=rng) for name, shape in shapes.items()}
    placed = {name: row.to(task.device, denoiser.dtype) for name, row in rows.items()}
    return denoiser.backbone.condition(**placed)
