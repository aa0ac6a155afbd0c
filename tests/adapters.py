"""Adapters for tests: random ones on any network, merged by hand, and networks that say whether they are."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from swd.lora.fitting import adaptable_layers, targeted
from swd.lora.layouts.adapter import Adapter, LoraWeights

TARGETS = {
    "sd35-medium": ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"),
    "sd35-large": ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"),
    "sdxl": ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "proj_in", "conv1"),
    "flux": ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "proj_mlp", "add_k_proj"),
}
HEADER = {"scales": [8, 16], "sigmas": [1.0, 0.5, 0.0], "base_model": "owner/base"}


def make_adapter(
    network: nn.Module,
    targets: Sequence[str],
    *,
    rank: Callable[[int], int] = lambda index: 3,
    alpha: Callable[[int], float] = lambda index: 4.0,
    rslora: bool = False,
    seed: int = 0,
    strength: float = 0.25,
) -> Adapter:
    """Random weights; rank and alpha of layer ``index`` as asked for, ``strength`` the deviation of ``up``."""
    rng = torch.Generator().manual_seed(seed)
    modules, layers = adaptable_layers(network), {}
    for index, name in enumerate(targeted(modules, tuple(targets))):
        out, *rest = modules[name].weight.shape
        down = torch.randn(rank(index), *rest, generator=rng) / rank(index)
        up = torch.randn(out, rank(index), *(1 for _ in rest[1:]), generator=rng)
        layers[name] = LoraWeights(down, strength * up, alpha(index))
    return Adapter(layers=layers, rslora=rslora, targets=tuple(targets), header=HEADER)


def merged(network: Any, adapter: Adapter) -> Any:
    """A copy of a network with the adapter added to its weights, by its definition."""
    network = copy.deepcopy(network)
    modules = adaptable_layers(network)
    with torch.no_grad():
        for name, one in adapter.layers.items():
            scale = one.alpha / (one.rank**0.5 if adapter.rslora else one.rank)
            product = one.up.flatten(1) @ one.down.flatten(1)
            modules[name].weight += scale * product.view_as(modules[name].weight)
    return network


def evaluate(network: Any) -> Tensor:
    """What a network of any family gives for fixed inputs."""
    rng = torch.Generator().manual_seed(5)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    kind, config = type(network).__name__, network.config
    inputs: dict[str, Any]
    if kind.startswith("UNet"):
        text = {"text_embeds": noise(2, 8), "time_ids": torch.full((2, 6), 8.0)}
        inputs = {"sample": noise(2, 4, 8, 8), "added_cond_kwargs": text}
        inputs["encoder_hidden_states"] = noise(2, 5, config.cross_attention_dim)
    else:
        packed = kind.startswith("Flux")
        inputs = {
            "hidden_states": noise(2, 16, config.in_channels) if packed else noise(2, config.in_channels, 8, 8),
            "encoder_hidden_states": noise(2, 5, config.joint_attention_dim),
            "pooled_projections": noise(2, config.pooled_projection_dim),
        }
        if packed:
            ids = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
            inputs |= {"img_ids": ids, "txt_ids": torch.zeros(5, 3), "guidance": torch.full((2,), 4.5)}
    with torch.no_grad():
        out: Tensor = network(timestep=torch.tensor([0.3, 0.8]), return_dict=False, **inputs)[0]
    return out
