"""GenEval's networks in small: checkpoints under mmdet's names, their converted folders, and a CLIP with QuickGELU."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from repro.metrics.geneval.convert import convert

MINI_CLIP = Path(__file__).parents[1] / "repro" / "worlds" / "mini" / "weights" / "clip"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a Mask2Former with a Swin backbone; the defaults are tiny."""

    embed: int = 12
    depths: tuple[int, ...] = (2, 1, 2, 1)
    heads: tuple[int, ...] = (1, 2, 3, 4)
    width: int = 32
    pixel_layers: int = 2
    pixel_hidden: int = 16
    query_layers: int = 2
    query_hidden: int = 24
    query_heads: int = 2
    queries: int = 12
    classes: int = 80


TINY = Sizes()
PUBLISHED = Sizes(
    embed=96,
    depths=(2, 2, 18, 2),
    heads=(3, 6, 12, 24),
    width=256,
    pixel_layers=6,
    pixel_hidden=1024,
    query_layers=9,
    query_hidden=2048,
    query_heads=8,
    queries=100,
)


def shapes(sizes: Sizes, *, version: int = 2) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of mmdet's state dict, written from its public configuration; mmdet 2 and 3 differ."""
    yield from _backbone(sizes)
    yield from _pixel_decoder(sizes, version)
    yield from _query_decoder(sizes, version)


def _affine(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _backbone(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _affine("backbone.patch_embed.projection", sizes.embed, 3, 4, 4)
    yield from _affine("backbone.patch_embed.norm", sizes.embed)
    for stage, depth in enumerate(sizes.depths):
        width = sizes.embed * 2**stage
        for block in range(depth):
            name = f"backbone.stages.{stage}.blocks.{block}"
            yield from _affine(f"{name}.norm1", width)
            yield f"{name}.attn.w_msa.relative_position_bias_table", (13 * 13, sizes.heads[stage])
            yield f"{name}.attn.w_msa.relative_position_index", (49, 49)
            yield from _affine(f"{name}.attn.w_msa.qkv", 3 * width, width)
            yield from _affine(f"{name}.attn.w_msa.proj", width, width)
            yield from _affine(f"{name}.norm2", width)
            yield from _affine(f"{name}.ffn.layers.0.0", 4 * width, width)
            yield from _affine(f"{name}.ffn.layers.1", width, 4 * width)
        if stage < 3:
            yield from _affine(f"backbone.stages.{stage}.downsample.norm", 4 * width)
            yield f"backbone.stages.{stage}.downsample.reduction.weight", (2 * width, 4 * width)
    for stage in range(4):
        yield from _affine(f"backbone.norm{stage}", sizes.embed * 2**stage)


def _pixel_decoder(sizes: Sizes, version: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    name, width = "panoptic_head.pixel_decoder", sizes.width
    for level in range(3):
        yield from _affine(f"{name}.input_convs.{level}.conv", width, sizes.embed * 2 ** (3 - level), 1, 1)
        yield from _affine(f"{name}.input_convs.{level}.gn", width)
    points = sizes.query_heads * 3 * 4
    attention, hidden = ("attentions.0", "ffns.0") if version == 2 else ("self_attn", "ffn")
    for layer in range(sizes.pixel_layers):
        inner = f"{name}.encoder.layers.{layer}"
        yield from _affine(f"{inner}.{attention}.sampling_offsets", 2 * points, width)
        yield from _affine(f"{inner}.{attention}.attention_weights", points, width)
        yield from _affine(f"{inner}.{attention}.value_proj", width, width)
        yield from _affine(f"{inner}.{attention}.output_proj", width, width)
        yield from _affine(f"{inner}.{hidden}.layers.0.0", sizes.pixel_hidden, width)
        yield from _affine(f"{inner}.{hidden}.layers.1", width, sizes.pixel_hidden)
        yield from _affine(f"{inner}.norms.0", width)
        yield from _affine(f"{inner}.norms.1", width)
    yield f"{name}.level_encoding.weight", (3, width)
    for part, shape in (("lateral", (width, sizes.embed, 1, 1)), ("output", (width, width, 3, 3))):
        yield f"{name}.{part}_convs.0.conv.weight", shape
        yield from _affine(f"{name}.{part}_convs.0.gn", width)
    yield from _affine(f"{name}.mask_feature", width, width, 1, 1)


def _query_decoder(sizes: Sizes, version: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    name, width = "panoptic_head", sizes.width
    attentions, hidden = (("attentions.0", "attentions.1"), "ffns.0")
    if version == 3:
        attentions, hidden = ("cross_attn", "self_attn"), "ffn"
    for layer in range(sizes.query_layers):
        inner = f"{name}.transformer_decoder.layers.{layer}"
        for attention in attentions:
            yield f"{inner}.{attention}.attn.in_proj_weight", (3 * width, width)
            yield f"{inner}.{attention}.attn.in_proj_bias", (3 * width,)
            yield from _affine(f"{inner}.{attention}.attn.out_proj", width, width)
        yield from _affine(f"{inner}.{hidden}.layers.0.0", sizes.query_hidden, width)
        yield from _affine(f"{inner}.{hidden}.layers.1", width, sizes.query_hidden)
        for norm in range(3):
            yield from _affine(f"{inner}.norms.{norm}", width)
    yield from _affine(f"{name}.transformer_decoder.post_norm", width)
    yield f"{name}.query_embed.weight", (sizes.queries, width)
    yield f"{name}.query_feat.weight", (sizes.queries, width)
    yield f"{name}.level_embed.weight", (3, width)
    yield from _affine(f"{name}.cls_embed", sizes.classes + 1, width)
    for layer in (0, 2, 4):
        yield from _affine(f"{name}.mask_embed.{layer}", width, width)


def state(sizes: Sizes = TINY, *, seed: int = 0, version: int = 2) -> dict[str, Tensor]:
    """Weights under mmdet's names, drawn in the order of `shapes`, at scales that let objects be found."""
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes(sizes, version=version):
        noise = torch.randn(shape, generator=rng)
        if name.endswith("relative_position_index"):
            found[name] = _position_index()
        elif len(shape) == 1:
            center = 1.0 if name.endswith("weight") else 0.0  # norms; biases
            found[name] = center + 0.1 * noise
        elif any(part in name for part in ("query_", "level_", "bias_table", "cls_embed")):
            found[name] = noise
        else:
            found[name] = noise / math.sqrt(noise[0].numel())
    return found


def checkpoint(path: Path, sizes: Sizes = TINY, *, seed: int = 0, version: int = 2) -> Path:
    """A checkpoint as mmdet publishes them: weights and a little about where they come from."""
    torch.save(
        {"meta": {"epoch": 50, "CLASSES": ("person",)}, "state_dict": state(sizes, seed=seed, version=version)}, path
    )
    return path


def detector_folder(folder: Path, *, seed: int = 0, side: int = 256) -> Path:
    """A tiny detector in a converted folder; images are resized to ``side``, to be quick."""
    convert(checkpoint(folder.with_suffix(".pth"), seed=seed), folder)
    path = folder / "preprocessor_config.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "size": {"shortest_edge": side, "longest_edge": 2 * side}}))
    return folder


def clip_folder(folder: Path, *, quick_gelu: bool = True) -> Path:
    """The mini world's CLIP, told to use OpenAI's activation."""
    shutil.copytree(MINI_CLIP, folder)
    path = folder / "open_clip_config.json"
    value = json.loads(path.read_text())
    value["model_cfg"]["quick_gelu"] = quick_gelu
    path.write_text(json.dumps(value))
    return folder


def _position_index() -> Tensor:
    rows, columns = (part.flatten() for part in torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij"))
    return (rows[:, None] - rows[None] + 6) * 13 + columns[:, None] - columns[None] + 6
