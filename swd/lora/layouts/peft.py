"""PEFT's ``save_pretrained``: a folder with the options in ``adapter_config.json``. The authors' layout."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from peft import LoraConfig
from peft.utils.other import get_pattern_key

from swd.errors import AdapterError
from swd.lora.layouts.adapter import Adapter, Layers, LoraWeights, Targets, peft_config
from swd.lora.layouts.contents import OUR_HEADER, Contents, Pair, pairs
from swd.lora.layouts.naming import LayerNames

FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
# Options that the weights themselves, `Adapter`, or nothing in inference answer for.
_UNDERSTOOD = {
    *("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern", "lora_dropout", "inference_mode", "base_model_name_or_path", "revision"),
    *("auto_mapping", "task_type", "peft_version", "megatron_core", "loftq_config", "runtime_config"),
    *("ephemeral_gpu_offload", "qalora_group_size", "init_lora_weights", "peft_type"),
}
_INERT_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # others change the base's weights too


def recognises(contents: Contents) -> bool:
    """By the prefix of its keys."""
    return any(key.startswith(_PREFIX) for key in contents.tensors)


def read(contents: Contents, names: LayerNames | None) -> Adapter:
    """With the options beside it, without which its scale is not known."""
    if contents.config is None:
        raise AdapterError(f"{contents.source} has PEFT's keys and needs its {CONFIG_FILE} beside it")
    config = contents.config
    check_options(config, contents.source)
    layers = {}
    for name, pair in pairs(contents).items():
        if not name.startswith(_PREFIX):
            raise AdapterError(f"{contents.source}: {pair.key} lacks the prefix {_PREFIX} of the other keys")
        layers[name.removeprefix(_PREFIX)] = pair
    return Adapter(
        layers=with_options(layers, config, contents.source),
        rslora=bool(config.get("use_rslora", False)),
        targets=stated_targets(config, layers),
        header=contents.json(OUR_HEADER),
        source=contents.source,
    )


def write(adapter: Adapter, component: str, names: LayerNames | None) -> dict[str, Contents]:
    """Only what differs from PEFT's defaults stands in the options, so that other versions of PEFT read them."""
    if adapter.text_encoders:
        part = next(iter(adapter.text_encoders))
        raise AdapterError(f"{adapter.source} adapts {part} too, which a PEFT folder of one network cannot hold")
    base = adapter.header.get("base_model")
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "inference_mode": True,
        **peft_config(adapter.layers, rslora=adapter.rslora, targets=adapter.targets),
    }
    header = {"format": "pt", OUR_HEADER: json.dumps(dict(adapter.header), sort_keys=True)}
    return {FILE: Contents(adapter.state(_PREFIX), header, config)}


def with_options(layers: Mapping[str, Pair], config: Mapping[str, Any], source: str) -> Layers:
    """Weights with the alpha that PEFT's options give them.

    Raises:
        AdapterError: a rank is not that of the options.
    """
    result: dict[str, LoraWeights] = {}
    for name, pair in layers.items():
        ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
        rank = ranks.get(get_pattern_key(ranks, name), config.get("r", LoraConfig().r))
        if pair.down.shape[0] != rank:
            raise AdapterError(f"{source}: {pair.key} has rank {pair.down.shape[0]}, its options say {rank}")
        result[name] = pair.weights(alphas.get(get_pattern_key(alphas, name), config.get("lora_alpha", rank)))
    return result


def stated_targets(config: Mapping[str, Any], layers: Iterable[str]) -> Targets | None:
    """The layers that the options speak of; those that there are, where other options narrow them down."""
    if any(config.get(name) for name in ("exclude_modules", "layers_to_transform")):
        return tuple(layers)
    targets = config.get("target_modules")
    return targets if targets is None or isinstance(targets, str) else tuple(targets)


def check_options(config: Mapping[str, Any], source: str) -> None:
    """Refuse options under which an adapter is more than products of matrices.

    Raises:
        AdapterError: there is such an option; the message names it.
    """
    if config.get("peft_type") not in (None, "LORA"):
        raise AdapterError(f"{source}: peft_type {config['peft_type']} is not supported, only LORA")
    if config.get("init_lora_weights", True) not in _INERT_STARTS:
        raise AdapterError(
            f"{source}: init_lora_weights {config['init_lora_weights']!r} changes the base's weights, which is not "
            "supported; PEFT can save it as a plain LoRA (path_initial_model_for_weight_conversion)"
        )
    defaults = LoraConfig().to_dict()
    for name, value in config.items():
        if name not in _UNDERSTOOD and value and value != defaults.get(name):
            raise AdapterError(f"{source}: {name} = {value!r} is not supported")
