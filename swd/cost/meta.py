"""Architectures on meta tensors: shapes and counts without memory."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from swd.backbones.base import Condition, Denoiser


def on_meta(module: Any, dtype: torch.dtype | None = None) -> Any:
    """The architecture of a diffusers or transformers model without its weights, LoRA layers left out.

    Args:
        module: with the ``config`` that its class is built from.
        dtype: of the copy; that of the module when absent.
    """
    kind = type(module)
    with torch.device("meta"):
        made = (
            kind(**constructor_arguments(kind, module.config)) if hasattr(kind, "from_config") else kind(module.config)
        )
    # diffusers' own `to` warns of modules that it keeps in float32
    return nn.Module.to(made, dtype or next(module.parameters()).dtype).eval()


def constructor_arguments(kind: type[nn.Module], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the class is built from; a config of diffusers holds more, and ``from_config`` warns of it."""
    known = inspect.signature(kind.__init__).parameters
    return {name: value for name, value in config.items() if name in known}


def meta_condition(denoiser: Denoiser, rows: int, text_tokens: int) -> Condition:
    """A condition of the shape that the network takes, ``text_tokens`` of all encoders together."""
    shapes = denoiser.backbone.condition_shapes(denoiser.network, text_tokens)
    empty = {name: torch.empty(rows, *shape, device="meta", dtype=denoiser.dtype) for name, shape in shapes.items()}
    return denoiser.backbone.condition(**empty)
