"""Copies of a network that share its weights: what to put in place of what."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


def substitute(module: nn.Module, swaps: Mapping[nn.Module, nn.Module]) -> Any:
    """A network with some modules in place of others.

    Modules on the way to a swapped one are shallow copies; weights and all other modules are shared with the original,
    which is left as it is.
    """
    if module in swaps:
        return swaps[module]
    children = {name: None if child is None else substitute(child, swaps) for name, child in module._modules.items()}
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    clone = copy.copy(module)
    clone._modules = children
    return clone


def merged_layers(transformer: nn.Module) -> dict[nn.Module, nn.Module]:
    """Plain layers that stand for layers with adapters: active ones merged into a copy of the weights.

    Raises:
        ValueError: when an adapter cannot be merged.
    """
    layers = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, BaseTunerLayer)}
    return {layer: _merged(name, layer) for name, layer in layers.items()}


def _merged(name: str, layer: BaseTunerLayer) -> nn.Module:
    base: nn.Module = layer.get_base_layer()
    if layer.merged_adapters and not layer.disable_adapters:
        return base
    if layer.disable_adapters and not layer.merged_adapters:
        return base
    try:
        if layer.merged_adapters:
            raise ValueError("it is disabled, but fused into the weights")
        if type(base.weight) is not nn.Parameter:
            raise ValueError(f"the base weights are quantised ({type(base.weight).__name__})")
        twin = copy.deepcopy(layer)
        twin.merge(safe_merge=True)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"cannot merge the adapter of {name}: {error}; switch merge_lora off") from error
    merged: nn.Module = twin.get_base_layer()
    return merged


def all_modules(root: nn.Module) -> Iterator[nn.Module]:
    """As ``root.modules()``, several times as fast; a module that is reached twice comes twice."""
    waiting: list[nn.Module | None] = [root]
    while waiting:
        module = waiting.pop()
        if module is not None:
            yield module
            waiting += module._modules.values()
