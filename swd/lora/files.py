"""Adapters on disk: our own file, and loading of any layout onto a bare network.

Our layout is PEFT's as diffusers reads it, so the ``load_lora_weights`` of a diffusers pipeline takes an exported
student as it is. `swd.lora.layouts` has the others.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from swd.errors import AdapterError
from swd.files import save_tensors, write_json
from swd.lora import layouts
from swd.lora.adaptable import Adaptable
from swd.lora.fitting import check_adapter_fits, check_fits, check_shapes, load_config
from swd.lora.layouts import LAYOUTS, LayoutName, diffusers, peft
from swd.lora.layouts.adapter import Adapter, LoraWeights
from swd.lora.layouts.contents import Contents
from swd.lora.layouts.naming import LayerNames
from swd.lora.source import Location, read_contents

if TYPE_CHECKING:
    from swd.lora.bank import AdapterBank

ADAPTER_FILE = diffusers.FILE

__all__ = [
    "ADAPTER_FILE",
    "check_adapter_fits",
    "check_shapes",
    "load_adapter",
    "open_adapter",
    "read_adapter",
    "save_adapter",
    "write_adapter",
]


def open_adapter(
    source: Path | str | Mapping[str, Tensor], names: LayerNames | None = None, location: Location | None = None
) -> Adapter:
    """An adapter of any layout.

    Args:
        source: file, folder, name on the Hub, or the tensors themselves.
        names: of its family's layers: layouts of kohya and ComfyUI need them.
        location: which of several files, and how the Hub is asked.

    Raises:
        FileNotFoundError: nothing is there.
        AdapterError: a pickle, a broken file, or what LoRA layers cannot represent.
    """
    return layouts.read(read_contents(source, location), names)


def write_adapter(
    adapter: Adapter, layout: LayoutName, folder: Path | str, *, component: str, names: LayerNames | None = None
) -> Path:
    """Write an adapter in a layout; each file appears under its name only when it is complete.

    Args:
        adapter: what to write. Equal adapters are equal files.
        layout: one of `LAYOUTS`.
        folder: made when missing.
        component: part of the pipeline that is the network.
        names: of its family's layers: layouts of kohya and ComfyUI need them.

    Returns:
        Path of the weights.

    Raises:
        AdapterError: the layout cannot hold this adapter.
    """
    folder = Path(folder)
    written = LAYOUTS[layout].write(adapter, component, names)
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in written.items():
        _write(folder / name, contents)
        if contents.config is not None:
            write_json(folder / peft.CONFIG_FILE, contents.config)
    return folder / next(iter(written))


def _write(path: Path, contents: Contents) -> None:
    partial = path.with_name(f".{path.name}.partial")
    save_tensors(partial, {key: weight.contiguous() for key, weight in contents.tensors.items()}, contents.header)
    os.replace(partial, path)


def save_adapter(
    bank: "AdapterBank[Any]",
    name: str,
    folder: Path | str,
    metadata: Mapping[str, object] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write one adapter so that ``load_lora_weights(folder)`` of the diffusers pipeline takes it.

    The file appears under its name only when it is complete. Equal adapters are equal files.

    Args:
        bank: where the adapter lives.
        name: which one.
        folder: made when missing.
        metadata: anything JSON can hold (schedule, training config); kept in the header, read back by `read_adapter`.
        dtype: of the stored weights.

    Returns:
        Path of the written file.
    """
    state = {key: weight.to("cpu", dtype).contiguous() for key, weight in bank.state_dict(name).items()}
    layers = {
        key.removesuffix(".lora_A.weight"): LoraWeights(down, state[key.replace("lora_A", "lora_B")], bank.alpha)
        for key, down in state.items()
        if key.endswith(".lora_A.weight")
    }
    layout = bank.denoiser.backbone
    header = json.loads(json.dumps(dict(metadata or {})))
    adapter = Adapter(layers=layers, targets=tuple(layout.lora_targets), header=header)
    return write_adapter(adapter, "diffusers", folder, component=layout.component)


def read_adapter(source: Path | str, names: LayerNames | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of a network's adapter by PEFT key, and its metadata: ``rank``, ``alpha`` and what its header says.

    Args:
        source: file, folder or name on the Hub.
        names: see `open_adapter`.

    Raises:
        FileNotFoundError: when there is no such file.
        AdapterError: when the file is truncated or not an adapter of one rank.
    """
    adapter = open_adapter(source, names)
    ranks = sorted({weights.rank for weights in adapter.layers.values()})
    if len(ranks) != 1:
        raise AdapterError(f"{source} is not a LoRA adapter of one rank: found ranks {ranks}")
    return adapter.state(), _metadata(adapter)


def load_adapter(
    denoiser: Adaptable, source: Path | str | Mapping[str, Tensor], *, name: str = "student", partial: bool = False
) -> dict[str, Any]:
    """Put an adapter of any layout onto a network, in use and frozen, after checking that it fits.

    Args:
        denoiser: its network has no adapter of that name.
        source: file, folder, name on the Hub, or the tensors themselves.
        name: name to give the adapter.
        partial: whether part of one will do, of one that does not say what it was made for.

    Returns:
        The adapter's metadata: ``rank``, ``alpha`` (of most layers) and what its header says.

    Raises:
        FileNotFoundError: when there is no file.
        AdapterError: when the file is broken or the adapter is not one of this network, wholly or in part.
    """
    adapter = open_adapter(source, denoiser.backbone.layer_names)
    if adapter.text_encoders:
        part = min(adapter.text_encoders)
        raise AdapterError(f"{adapter.source} adapts {part} too: load it into a pipeline, a network alone has none")
    put_on(denoiser.network, adapter, name, partial=partial)
    return _metadata(adapter)


def put_on(network: Any, adapter: Adapter, name: str | None, *, partial: bool = False, **options: Any) -> None:
    """Put the network's part of an adapter onto it, in use and frozen.

    Args:
        network: a diffusers model.
        adapter: what goes there.
        name: name to give the adapter; diffusers' choice when absent.
        partial: see `load_adapter`.
        options: of ``load_lora_adapter``.

    Raises:
        AdapterError: it does not fit; nothing has happened then.
    """
    check_fits(network, adapter.layers, targets=adapter.targets, source=adapter.source, partial=partial)
    before = {key for key, _ in network.named_parameters()}
    config = load_config(network, adapter)
    network.load_lora_adapter(adapter.state(), prefix=None, adapter_name=name, metadata=config, **options)
    for key, parameter in network.named_parameters():
        if ".lora_" in key and key not in before:
            parameter.requires_grad_(False)


def _metadata(adapter: Adapter) -> dict[str, Any]:
    common = Counter((weights.rank, weights.alpha) for weights in adapter.layers.values()).most_common(1)
    rank, alpha = common[0][0] if common else (None, None)
    return {**adapter.header, "rank": rank, "alpha": alpha}
