"""Whether a network is the one that something was made from: its modules, its adapters, its weights."""

import weakref
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from swd.backbones.shared_weights import all_modules

SAMPLED = 16  # numbers of each weight


class Snapshot:
    """State of networks that differs once modules, adapters or weights were exchanged, written or moved.

    It knows the modules by weak references, so that none made later can pass for one of them, and none is kept alive.
    What is written through ``parameter.data`` leaves no trace but the numbers themselves, so 16 of each weight, evenly
    spaced, are compared bit by bit: EMA copies and optimisers change them all. What spares those, such as a row of an
    embedding that is written through ``.data``, is not seen. Weights of no plain type (quantised ones), and those that
    lie elsewhere than in memory (meta), are not sampled.
    """

    def __init__(self, *networks: nn.Module | None) -> None:
        modules = [module for network in networks if network is not None for module in all_modules(network)]
        self._states = [_state(module) for module in modules]
        self._samples = _samples(modules)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Snapshot):
            return NotImplemented
        if self._states != other._states or self._samples.keys() != other._samples.keys():
            return False
        return all(torch.equal(sample, other._samples[kind]) for kind, sample in self._samples.items())

    __hash__ = None  # type: ignore[assignment]


def _state(module: nn.Module) -> tuple[Any, ...]:
    weights = [(weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in _weights(module)]
    instance = vars(module)  # offloading hooks replace forward on the instance
    state = (weakref.ref(module), weights, instance.get("processor"), instance.get("forward"))
    if not isinstance(module, BaseTunerLayer):
        return state
    scaling = dict(getattr(module, "scaling", {}))
    return *state, list(module.active_adapters), list(module.merged_adapters), module.disable_adapters, scaling


def _weights(module: nn.Module) -> Iterator[nn.Parameter]:
    return (weight for weight in module._parameters.values() if weight is not None)


def _is_plain(weight: nn.Parameter) -> bool:
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    return type(weight) is nn.Parameter and dense and not weight.is_meta and weight.numel() > 0


def _samples(modules: list[nn.Module]) -> dict[tuple[torch.device, torch.dtype], Tensor]:
    """Bytes of some numbers of every weight, by device and dtype: each is one copy, however many weights there are."""
    found: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    with torch.no_grad():
        for weight in (weight for module in modules for weight in _weights(module)):
            if _is_plain(weight):
                count = min(SAMPLED, weight.numel())
                some = torch.as_strided(weight, (count,), (weight.numel() // count,), weight.storage_offset())
                found[weight.device, weight.dtype].append(some)
        return {kind: torch.cat(some).view(torch.uint8) for kind, some in found.items()}
