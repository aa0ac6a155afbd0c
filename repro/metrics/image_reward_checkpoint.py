"""From the published ImageReward checkpoint to transformers' BLIP towers, whole or not at all.

The checkpoint is the state dict of BLIP's vision tower (ViT-L under timm's names), BERT with cross-attention, two
projections that belong to BLIP's pre-training and play no part in a reward, and a head of linear layers without
activations. Sizes are read from the weights and from med_config.json; attention heads of the vision tower are 64 wide,
in BLIP's base and large alike.
"""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipVisionConfig

from repro.metrics.base import WeightsError
from swd.errors import reason

CHECKPOINT, MED_CONFIG = "ImageReward.pt", "med_config.json"
HEAD_WIDTH = 64
VISION_LAYER_NORM_EPS = 1e-6
UNUSED = re.compile(r"blip\.(vision_proj|text_proj)\.(weight|bias)|blip\.text_encoder\.embeddings\.position_ids")
BLOCK = re.compile(r"blip\.visual_encoder\.blocks\.(\d+)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(\w+)")
HEAD = re.compile(r"mlp\.layers\.(\d+)\.(weight|bias)")
IN_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
OUTSIDE = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.weight": "embeddings.patch_embedding.weight",
    "patch_embed.proj.bias": "embeddings.patch_embedding.bias",
    "norm.weight": "post_layernorm.weight",
    "norm.bias": "post_layernorm.bias",
}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the published file without running any code in it.

    Raises:
        WeightsError: it is truncated, no state dict, or holds more than tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise WeightsError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is no state dict: expected tensors by name")
    return state


def read_med_config(path: Path) -> dict[str, Any]:
    """Read the configuration of the text tower, as published beside the checkpoint.

    Raises:
        WeightsError: it is no JSON, a number is missing, or it asks for what transformers' tower does not do.
    """
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sizes = {name: config[name] for name in ("hidden_size", "num_attention_heads", "num_hidden_layers")}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is no med_config.json: {reason(error)}") from error
    if not config.get("add_cross_attention"):
        raise WeightsError(f"{path}: add_cross_attention must be true, the caption reads the image through it")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise WeightsError(f"{path}: position embeddings must be absolute, got {config['position_embedding_type']!r}")
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise WeightsError(f"{path}: {sizes['num_attention_heads']} heads do not divide {sizes['hidden_size']}")
    return config


def vision_config(state: Mapping[str, Tensor]) -> BlipVisionConfig:
    """Sizes of the vision tower from its tensors."""
    width, _, patch, _ = state["blip.visual_encoder.patch_embed.proj.weight"].shape
    tokens = state["blip.visual_encoder.pos_embed"].shape[1] - 1
    blocks = {match[1] for name in state if (match := BLOCK.fullmatch(name))}
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=state["blip.visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(blocks),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        image_size=round(tokens**0.5) * patch,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=VISION_LAYER_NORM_EPS,
    )


def text_config(config: Mapping[str, Any], *, vision_width: int) -> BlipTextConfig:
    """Sizes of the text tower from med_config.json; ``is_decoder`` builds the cross-attention, nothing is causal."""
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    more = ("max_position_embeddings", "hidden_act", "layer_norm_eps", "pad_token_id")
    sizes = {name: config[name] for name in (*names, *more) if name in config}
    return BlipTextConfig(**sizes, encoder_hidden_size=vision_width, bos_token_id=None, is_decoder=True)


def reward_head(state: Mapping[str, Tensor]) -> nn.Sequential:
    """Linear layers in the order of their numbers; the numbers between them are dropouts, which rest."""
    shapes = [state[f"mlp.layers.{number}.weight"].shape for number in head_numbers(state)]
    return nn.Sequential(*(nn.Linear(width, out) for out, width in shapes))


def head_numbers(state: Mapping[str, Tensor]) -> list[int]:
    """Numbers of the head's linear layers, in order."""
    return sorted({int(match[1]) for name in state if (match := HEAD.fullmatch(name))})


def split(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by part (vision, text, head), under the names that each part gives them.

    Raises:
        WeightsError: names the first tensor that belongs to no part.
    """
    parts: dict[str, dict[str, Tensor]] = {"vision": {}, "text": {}, "head": {}}
    layers = head_numbers(state)
    for name, tensor in state.items():
        if UNUSED.fullmatch(name):
            continue
        rest = name.removeprefix("blip.visual_encoder.")
        if match := BLOCK.fullmatch(name):
            parts["vision"][f"encoder.layers.{match[1]}.{IN_BLOCK[match[2]]}.{match[3]}"] = tensor
        elif rest != name and rest in OUTSIDE:
            parts["vision"][OUTSIDE[rest]] = tensor
        elif name.startswith("blip.text_encoder."):
            parts["text"][name.removeprefix("blip.text_encoder.")] = tensor
        elif match := HEAD.fullmatch(name):
            parts["head"][f"{layers.index(int(match[1]))}.{match[2]}"] = tensor
        else:
            raise WeightsError(f"{name} is no tensor of ImageReward")
    return parts


def load_part(part: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load every tensor of a part, or refuse by the first that is missing, left over or of another shape."""
    ours = part.state_dict()
    for problem, names in (("misses", ours.keys() - state.keys()), ("does not know", state.keys() - ours.keys())):
        if names:
            raise WeightsError(f"the {what} of ImageReward {problem} {min(names)}, of {len(names)} tensors")
    for name, tensor in ours.items():
        if tensor.shape != state[name].shape:
            shape, expected = tuple(state[name].shape), tuple(tensor.shape)
            raise WeightsError(f"{name} in the {what} of ImageReward has shape {shape}, expected {expected}")
    part.load_state_dict(dict(state))
