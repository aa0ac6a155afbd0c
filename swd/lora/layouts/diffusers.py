"""diffusers' ``save_lora_weights``: one file, the part of the pipeline before each name, options in the header.

Older files have no options (the scale is then 1, unless there are alpha tensors) and other names: ``lora.down``,
``lora_linear_layer``, and those of attention processors (``attn1.processor.to_q_lora``).
"""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from swd.errors import AdapterError
from swd.lora.layouts.adapter import Adapter, Layers, Targets, peft_config, peft_state
from swd.lora.layouts.contents import OUR_HEADER, PEFT_HEADER, Contents, Pair, pairs
from swd.lora.layouts.naming import LayerNames
from swd.lora.layouts.peft import check_options, stated_targets, with_options

FILE = "pytorch_lora_weights.safetensors"
NETWORKS = ("transformer", "unet")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
_OLD_ENCODER_NAMES = {f"self_attn.to_{end}": f"self_attn.{end}_proj" for end in ("q", "k", "v", "out")}


def recognises(contents: Contents) -> bool:
    """By the prefix of its keys; a network that was saved by itself has none."""
    return any(key.split(".")[0] in (*NETWORKS, *TEXT_ENCODERS) for key in contents.tensors)


def read(contents: Contents, names: LayerNames | None) -> Adapter:
    """Every part apart, under its own options."""
    parts: dict[str, dict[str, Pair]] = {}
    for name, pair in pairs(contents).items():
        part, layer = _place(name)
        parts.setdefault(part, {})[layer] = pair
    options = contents.json(PEFT_HEADER)
    rslora, targets = False, None
    read_parts: dict[str, Layers] = {}
    for part, layers in parts.items():
        config = _options_of(part, options)
        check_options(config, contents.source)
        if part not in TEXT_ENCODERS:
            rslora, targets = bool(config.get("use_rslora", False)), stated_targets(config, layers)
        elif config.get("use_rslora"):
            raise AdapterError(f"{contents.source}: use_rslora is not supported for {part}")
        read_parts[part] = _weights(layers, config, contents.source)
    networks = [part for part in read_parts if part not in TEXT_ENCODERS]
    if len(networks) > 1:
        raise AdapterError(f"{contents.source} adapts several networks: {', '.join(networks)}")
    return Adapter(
        layers=read_parts[networks[0]] if networks else {},
        text_encoders={part: layers for part, layers in read_parts.items() if part in TEXT_ENCODERS},
        rslora=rslora,
        targets=targets,
        header=contents.json(OUR_HEADER),
        source=contents.source,
    )


def write(adapter: Adapter, component: str, names: LayerNames | None) -> dict[str, Contents]:
    """With options, since without them diffusers knows no alpha."""
    header = {"format": "pt", OUR_HEADER: json.dumps(dict(adapter.header), sort_keys=True)}
    tensors: dict[str, Tensor] = {}
    options: dict[str, Any] = {}
    parts: list[tuple[str, Layers, bool, Targets | None]] = [
        (component, adapter.layers, adapter.rslora, adapter.targets),
        *((part, layers, False, None) for part, layers in adapter.text_encoders.items()),
    ]
    for part, layers, rslora, targets in parts:
        if layers:
            tensors |= peft_state(layers, f"{part}.")
            config = peft_config(layers, rslora=rslora, targets=targets)
            options |= {f"{part}.{name}": value for name, value in config.items()}
    return {FILE: Contents(tensors, {**header, PEFT_HEADER: json.dumps(options, sort_keys=True)})}


def _place(name: str) -> tuple[str, str]:
    part, _, layer = name.partition(".")
    if part in TEXT_ENCODERS:
        for old, new in _OLD_ENCODER_NAMES.items():
            layer = layer.replace(old, new)
        return part, layer
    if part in NETWORKS:
        return part, _current(layer)
    return "", _current(name)


def _current(layer: str) -> str:
    """Names from when attention processors held the adapters."""
    if ".processor." not in layer:
        return layer
    layer = layer.replace(".processor.", ".")
    return f"{layer}.0" if layer.endswith(".to_out") else layer


def _options_of(part: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of one part; they stand without a prefix where the weights do."""
    prefix = f"{part}." if part else ""
    return {key.removeprefix(prefix): value for key, value in options.items() if key.startswith(prefix)}


def _weights(layers: Mapping[str, Pair], config: Mapping[str, Any], source: str) -> Layers:
    if not config:
        return {name: pair.weights() for name, pair in layers.items()}
    for pair in layers.values():
        if pair.alpha is not None:
            raise AdapterError(f"{source}: {pair.key} has an alpha both in a tensor and in the header")
    return with_options(layers, config, source)
