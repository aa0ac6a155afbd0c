"""What calls of pipelines take beyond single values: pairs, tensors, guidance, the scale of adapters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from swd.values import real, several, shown, typed, whole

SEEDS = 2**63  # those of more than 32 bits are hashed where noise is drawn: torch's CPU generator keeps 32
MOST_GUIDANCE = 1000.0  # far above any that draws an image: what is beyond ends in NaN


def pair(name: str, value: Any, low: int) -> tuple[int, int]:
    """Two whole numbers of at least ``low`` and less than a million.

    Raises:
        TypeError: something else.
        ValueError: out of range, or another number of them.
    """
    found = [whole(name, one, low, 10**6 - 1) for one in several(name, value)]
    if len(found) != 2:
        raise ValueError(f"{name} must be two whole numbers, got {shown(value)}")
    return found[0], found[1]


def floats(name: str, value: Any) -> Tensor:
    """A dense tensor of floating-point numbers that holds some; whether they are finite is not looked at.

    Raises:
        TypeError: something else.
        ValueError: an empty one, or one on the meta device.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {typed(value)}")
    if not value.is_floating_point() or value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor of floating-point numbers, got {value.dtype}, {value.layout}")
    if value.is_meta or not value.numel():
        raise ValueError(f"{name} holds no numbers, got shape {tuple(value.shape)} on {value.device}")
    return value


def guidance(name: str, value: Any) -> float:
    """A guidance scale, from 0 to 1000: beyond, images overflow to NaN.

    Raises:
        TypeError: no number.
        ValueError: out of range.
    """
    return real(name, value, least=0, most=MOST_GUIDANCE)


def adapter_scale(name: str, value: Any) -> float | None:
    """The number under "scale" of a network's keyword arguments, None where there is none.

    Raises:
        TypeError: no mapping, or no number.
        ValueError: infinite or NaN.
    """
    if not isinstance(value, Mapping | None):
        raise TypeError(f"{name} must be a mapping of names, got {typed(value)}")
    scale = None if value is None else value.get("scale")
    return None if scale is None else real(f"{name}['scale']", scale)
