"""What lies in an adapter's file: pairs of matrices under some name of a layer, and headers in JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from swd.errors import AdapterError
from swd.lora.layouts.adapter import LoraWeights

OUR_HEADER = "swd"
LAYERS_HEADER = "swd_layers"  # rank and alpha of every layer, for layouts that cannot say it in full
PEFT_HEADER = "lora_adapter_metadata"  # diffusers' header key for the LoraConfig

_DOWN = (
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora_down.weight",
    ".lora.down.weight",
    ".lora_linear_layer.down.weight",
    "_lora.down.weight",
)
_UP = tuple(end.replace("lora_A", "lora_B").replace("down", "up") for end in _DOWN)
_ALPHA = (".alpha",)
_FOREIGN = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lora_mid": "a Tucker decomposition",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "lora_B.bias": "a bias beside LoRA",
    "lora_bias": "a bias beside LoRA",
    "lora_embedding_": "LoRA of an embedding",
    "modules_to_save": "whole modules",
    "diff": "whole weights",
    "w_norm": "whole weights",
}


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """One safetensors file.

    Attributes:
        tensors: by key.
        header: strings by key.
        config: ``adapter_config.json`` beside it; of a file to be written, what goes there.
        source: what the user named, for messages.
    """

    tensors: Mapping[str, Tensor]
    header: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    config: Mapping[str, Any] | None = None
    source: str = "the adapter"

    def json(self, key: str) -> dict[str, Any]:
        """A part of the header; empty where there is none.

        Raises:
            AdapterError: it is no JSON object.
        """
        try:
            value = json.loads(self.header.get(key, "{}"))
        except (ValueError, RecursionError) as error:
            raise AdapterError(f"{self.source}: the header {key} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise AdapterError(f"{self.source}: the header {key} is no JSON object, got {type(value).__name__}")
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Weights of one layer as a file has them, and the first of its keys, for messages."""

    down: Tensor
    up: Tensor
    alpha: float | None
    key: str

    def weights(self, alpha: float | None = None) -> LoraWeights:
        """As a value; without any alpha the scale is 1 (for rsLoRA the alpha has to be known)."""
        chosen = self.alpha if alpha is None else alpha
        try:
            return LoraWeights(self.down, self.up, float(self.down.shape[0]) if chosen is None else chosen)
        except AdapterError as error:
            raise AdapterError(f"{self.key}: {error}") from error


def pairs(contents: Contents) -> dict[str, Pair]:
    """Matrices of a file by the name of the layer, as the file has it.

    Raises:
        AdapterError: a key is none of LoRA, or one of a pair is missing; the message names the key.
    """
    found: dict[str, dict[str, tuple[str, Tensor]]] = {}
    for key, tensor in contents.tensors.items():
        layer, side = _split(key, contents.source)
        if side in found.setdefault(layer, {}):
            raise AdapterError(f"{contents.source}: {key} and {found[layer][side][0]} are the same weights")
        found[layer][side] = key, tensor
    result = {}
    for layer, sides in found.items():
        first = next(iter(sides.values()))[0]
        for side in ("down", "up"):
            if side not in sides:
                raise AdapterError(f"{contents.source}: {first} has no {side} beside it")
        for key, tensor in sides.values():
            _check_numbers(key, tensor, contents.source)
        alpha = _single(*sides["alpha"], contents.source) if "alpha" in sides else None
        result[layer] = Pair(sides["down"][1], sides["up"][1], alpha, sides["down"][0])
    return result


def _check_numbers(key: str, tensor: Tensor, source: str) -> None:
    if not tensor.is_floating_point() and not key.endswith(_ALPHA):
        raise AdapterError(f"{source}: {key} holds {tensor.dtype}, expected floating point numbers")
    if not tensor.is_meta and not tensor.float().isfinite().all():
        raise AdapterError(f"{source}: {key} holds NaN or infinite numbers")


def _single(key: str, tensor: Tensor, source: str) -> float:
    if tensor.numel() != 1:
        raise AdapterError(f"{source}: {key} must be one number, got shape {tuple(tensor.shape)}")
    return float(tensor)


def _split(key: str, source: str) -> tuple[str, str]:
    for side, ends in (("down", _DOWN), ("up", _UP), ("alpha", _ALPHA)):
        for end in ends:
            if key.endswith(end):
                return key.removesuffix(end), side
    kind = next((kind for mark, kind in _FOREIGN.items() if mark in key), None)
    raise AdapterError(f"{source}: {key} is {kind}, which is not supported" if kind else f"{source}: {key} is no LoRA")
