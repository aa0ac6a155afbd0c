"""Whether an adapter is one of a network: every layer there, every layer that it was made for, and their shapes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from torch import Tensor, nn

from swd.errors import AdapterError
from swd.lora.adaptable import Adaptable
from swd.lora.layouts.adapter import Adapter, Layers, Targets, peft_state

_Shapes = dict[str, tuple[int, ...]]


def check_fits(
    network: nn.Module,
    layers: Layers,
    *,
    targets: Targets | None = None,
    source: str = "adapter",
    partial: bool = False,
) -> None:
    """Refuse an adapter that is not one of ``network``, wholly or in part.

    Args:
        network: may have adapters on it.
        layers: of the adapter.
        targets: ends of the names of the layers that it has to have, or a regular expression. Where the adapter does
            not say, it has to have all layers of a kind, or none.
        source: what the message calls it.
        partial: let any part do where the adapter does not say.

    Raises:
        AdapterError: names the first key that is missing, unknown or of another shape.
    """
    modules = adaptable_layers(network)
    wanted = [*layers] if targets is None else targeted(modules, targets)
    expected: _Shapes = {}
    for name in dict.fromkeys((*wanted, *layers)):
        if name in modules:
            rank = layers[name].rank if name in layers else 1
            expected |= _shapes(name, modules[name], rank)
    check_shapes(peft_state(layers), expected, source)
    if targets is None and not partial:
        _check_gaps(modules, layers, source)


def _check_gaps(modules: Iterable[str], layers: Layers, source: str) -> None:
    """Refuse what does not say what it was made for, and has a kind of layer in some blocks only."""
    kinds = {_kind(name) for name in layers}
    missing = [name for name in modules if _kind(name) in kinds and name not in layers]
    if missing:
        raise AdapterError(
            f"{source} adapts {len(layers)} of {len(layers) + len(missing)} layers of its kinds (first missing: "
            f"{missing[0]}) and does not say whether that is all of it: partial=True loads what there is"
        )


def _kind(name: str) -> str:
    """Name of a layer without the numbers of blocks."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def check_adapter_fits(denoiser: Adaptable, state: Mapping[str, Tensor], rank: int) -> None:
    """Raise AdapterError, naming the first weight that differs, unless ``state`` is a whole adapter of one rank."""
    modules = adaptable_layers(denoiser.network)
    expected: _Shapes = {}
    for name in targeted(modules, denoiser.backbone.lora_targets):
        expected |= _shapes(name, modules[name], rank)
    check_shapes(state, expected)


def check_shapes(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], source: str = "adapter") -> None:
    """Raise AdapterError, naming the first weight that differs, unless ``state`` has the expected keys and shapes."""
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise AdapterError(f"{source} does not fit: {_some('missing', missing)}, {_some('unknown', unknown)}")
    for key, shape in expected.items():
        if tuple(state[key].shape) != shape:
            raise AdapterError(f"{source} does not fit: {key} has shape {tuple(state[key].shape)}, expected {shape}")


def adaptable_layers(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Layers that LoRA can adapt by name, as if nothing was adapted yet."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and ".lora_" not in name:
            found[name.removesuffix(".base_layer")] = module
    return found


def targeted(names: Iterable[str], targets: Targets) -> list[str]:
    """Those of the names that PEFT would adapt."""
    config: Any = LoraConfig(target_modules=targets if isinstance(targets, str) else list(targets))
    return [name for name in names if check_target_module_exists(config, name)]


def load_config(network: nn.Module, adapter: Adapter) -> dict[str, Any]:
    """PEFT's options under which exactly the layers of ``adapter`` go onto ``network``."""
    config = adapter.config()
    if targeted(adaptable_layers(network), config["target_modules"]) != [*adapter.layers]:
        config["target_modules"] = sorted(adapter.layers)
    return config


def _shapes(name: str, layer: nn.Linear | nn.Conv2d, rank: int) -> _Shapes:
    down: tuple[int, ...]
    up: tuple[int, ...]
    if isinstance(layer, nn.Linear):
        down, up = (rank, layer.in_features), (layer.out_features, rank)
    else:
        down, up = (rank, layer.in_channels, *layer.kernel_size), (layer.out_channels, rank, 1, 1)
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}


def _some(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what} keys" + (f" (first {keys[0]})" if keys else "")
