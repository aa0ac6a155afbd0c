"""What a forward pass, a schedule, text encoding and decoding cost, counted on meta tensors."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import nn

from swd.backbones import backbone_of
from swd.backbones.base import Backbone, Denoiser
from swd.cost.counting import Cost, count
from swd.cost.meta import constructor_arguments, meta_condition, on_meta
from swd.sampler import sides_of
from swd.schedule import LARGEST_SIDE, ScaleSchedule, check_schedule
from swd.values import flag, whole

MOST = 2**20  # images of a batch, or tokens: beyond, no tensor has a size


def forward_cost(
    denoiser: Denoiser,
    side: int | tuple[int, int],
    *,
    batch: int = 1,
    text_tokens: int | None = None,
) -> Cost:
    """One evaluation of a network.

    Args:
        denoiser: only the config and dtype of its network matter.
        side: latent side of a square, or height and width.
        batch: images.
        text_tokens: of all text encoders together; as published when absent.

    Raises:
        TypeError: an argument of another type.
        ValueError: a number out of range, the patch size does not divide ``side``, or the network has no positions
            for it.
    """
    patch, network = denoiser.patch_size, denoiser.network
    size = sides_of("side", side)
    for length in size:
        schedule = ScaleSchedule((length,), (1.0, 0.0))
        schedule.check_patch(patch)
        schedule.check_size(denoiser.max_side)
    batch = whole("batch", batch, 1, MOST)
    tokens = denoiser.backbone.text_tokens if text_tokens is None else whole("text_tokens", text_tokens, 1, MOST)
    kind: Any = type(network)  # to mypy, type[Any] is not hashable
    return _forward(denoiser.backbone, kind, network.to_json_string(), denoiser.dtype, size, batch, tokens)


@cache
@torch.no_grad()
def _forward(
    backbone: Backbone,
    kind: type[nn.Module],
    config: str,
    dtype: torch.dtype,
    size: tuple[int, int],
    batch: int,
    text_tokens: int,
) -> Cost:
    """Schedules come back to the same sides, and tables to the same schedules."""
    with torch.device("meta"):
        made = kind(**constructor_arguments(kind, json.loads(config)))
    denoiser = backbone.denoiser(nn.Module.to(made, dtype).eval())
    x_t = torch.empty(batch, denoiser.latent_channels, *size, device="meta", dtype=dtype)
    sigma, cond = torch.empty(batch, device="meta"), meta_condition(denoiser, batch, text_tokens)
    counted = count(lambda: denoiser.predict(x_t, sigma, cond))
    return replace(counted, tokens=batch * size[0] * size[1] // denoiser.patch_size**2)


def schedule_cost(
    denoiser: Denoiser,
    schedule: ScaleSchedule,
    *,
    batch: int = 1,
    text_tokens: int | None = None,
    guidance: bool = False,
    size: tuple[int, int] | None = None,
) -> Cost:
    """All evaluations of a schedule whose last latent is of ``size``.

    With guidance each is a doubled batch, unless the network takes it as an input.

    Raises:
        TypeError: an argument of another type.
        ValueError: a number out of range, or the schedule does not fit the network.
    """
    check_schedule(schedule)
    batch = whole("batch", batch, 1, MOST // 2)
    rows = 2 * batch if flag("guidance", guidance) and not denoiser.embeds_guidance else batch
    schedule.check_patch(denoiser.patch_size)
    sizes = schedule.latent_sizes(size, multiple=denoiser.patch_size)
    costs = {side: forward_cost(denoiser, side, batch=rows, text_tokens=text_tokens) for side in dict.fromkeys(sizes)}
    return sum((costs[side] for side in sizes), Cost())


@torch.no_grad()
def text_cost(encoder: nn.Module, tokens: int, *, batch: int = 1) -> Cost:
    """One text encoder of transformers (CLIP, T5) over ``tokens`` tokens for each prompt.

    Raises:
        TypeError: no whole numbers.
        ValueError: a number out of range. So it is in all functions below.
    """
    tokens, batch = whole("tokens", tokens, 1, MOST), whole("batch", batch, 1, MOST)
    model = on_meta(encoder)
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and tokens > longest:
        raise ValueError(f"tokens must be at most {longest}, the positions of the encoder, got {tokens}")
    ids = torch.zeros(batch, tokens, dtype=torch.int64, device="meta")
    return count(lambda: model(input_ids=ids))


def prompt_cost(pipeline: Any, token_length: int, *, batch: int = 1) -> Cost:
    """All text encoders that a pipeline has, at ``token_length`` where the length can be chosen."""
    token_length, batch = whole("token_length", token_length, 0, MOST), whole("batch", batch, 1, MOST)
    lengths = backbone_of(pipeline).encoder_lengths(pipeline, token_length)
    costs = (text_cost(getattr(pipeline, part), tokens, batch=batch) for part, tokens in lengths.items())
    return sum(costs, Cost())


@torch.no_grad()
def decode_cost(vae: nn.Module, side: int, *, batch: int = 1) -> Cost:
    """Decoding of latents of that side, by an AutoencoderKL or AutoencoderTiny."""
    side, batch = whole("side", side, 1, LARGEST_SIDE), whole("batch", batch, 1, MOST)
    model = on_meta(vae)
    dtype = next(model.parameters()).dtype
    latents = torch.empty(batch, model.config.latent_channels, side, side, device="meta", dtype=dtype)
    return count(lambda: model.decode(latents))


@torch.no_grad()
def encode_cost(vae: nn.Module, side: int, *, batch: int = 1) -> Cost:
    """Encoding of images to latents of that side, by an AutoencoderKL."""
    side, batch = whole("side", side, 1, LARGEST_SIDE), whole("batch", batch, 1, MOST)
    model = on_meta(vae)
    dtype, factor = next(model.parameters()).dtype, 2 ** (len(model.config.block_out_channels) - 1)
    images = torch.empty(batch, model.config.in_channels, factor * side, factor * side, device="meta", dtype=dtype)
    return count(lambda: model.encode(images))


def weight_bytes(*modules: nn.Module | None) -> int:
    """Memory of the parameters of the modules that are there."""
    present = [module for module in modules if module is not None]
    return sum(p.numel() * p.element_size() for module in present for p in module.parameters())
