"""Adapters on disk.

The layout is PEFT's as diffusers reads it, so the ``load_lora_weights`` of a diffusers pipeline takes an exported
student as it is.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from swd.files import save_tensors
from swd.lora.adaptable import Adaptable

if TYPE_CHECKING:
    from swd.lora.bank import AdapterBank

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
_COMPONENTS = ("transformer", "unet")  # what pipelines of diffusers call the network, before every key of it
_PEFT_METADATA = "lora_adapter_metadata"  # diffusers' header key for the LoraConfig
_OUR_METADATA = "swd"


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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layout = bank.denoiser.backbone
    prefix = f"{layout.component}."
    config = {"r": bank.rank, "lora_alpha": bank.alpha, "target_modules": list(layout.lora_targets)}
    header = {
        "format": "pt",
        _PEFT_METADATA: json.dumps({prefix + key: value for key, value in config.items()}, sort_keys=True),
        _OUR_METADATA: json.dumps(dict(metadata or {}), sort_keys=True),
    }
    state = bank.state_dict(name)
    tensors = {prefix + key: weight.to("cpu", dtype).contiguous() for key, weight in state.items()}
    partial = folder / f".{ADAPTER_FILE}.partial"
    save_tensors(partial, tensors, header)
    os.replace(partial, folder / ADAPTER_FILE)
    return folder / ADAPTER_FILE


def read_adapter(folder: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of an adapter by PEFT key, and its metadata: ``rank``, ``alpha`` and what `save_adapter` was given.

    Args:
        folder: folder that holds the adapter file, or the file itself.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is truncated or not an adapter.
    """
    path = Path(folder)
    path = path if path.is_file() else path / ADAPTER_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no adapter at {path}, expected a file {ADAPTER_FILE}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {_bare(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from error
    ranks = {weight.shape[0] for key, weight in state.items() if key.endswith("lora_A.weight")}
    if len(ranks) != 1:
        raise ValueError(f"{path} is not a LoRA adapter of one rank: found ranks {sorted(ranks)}")
    rank = ranks.pop()
    config = {_bare(key): value for key, value in json.loads(header.get(_PEFT_METADATA, "{}")).items()}
    alpha = config.get("lora_alpha", rank)
    return state, {**json.loads(header.get(_OUR_METADATA, "{}")), "rank": rank, "alpha": alpha}


def _bare(key: str) -> str:
    for component in _COMPONENTS:
        key = key.removeprefix(f"{component}.")
    return key


def load_adapter(denoiser: Adaptable, folder: Path | str, *, name: str = "student") -> dict[str, Any]:
    """Put an adapter file onto a plain network, in use and frozen, after checking that it fits.

    Args:
        denoiser: its network has no adapter of that name.
        folder: what `save_adapter` wrote.
        name: name to give the adapter.

    Returns:
        The adapter's metadata.

    Raises:
        FileNotFoundError: when there is no file.
        ValueError: when the file is broken or the adapter has another shape than the network.
    """
    state, metadata = read_adapter(folder)
    rank = metadata["rank"]
    check_adapter_fits(denoiser, state, rank)
    config = {"r": rank, "lora_alpha": metadata["alpha"], "target_modules": list(denoiser.backbone.lora_targets)}
    denoiser.network.load_lora_adapter(dict(state), prefix=None, adapter_name=name, metadata=config)
    for key, parameter in denoiser.network.named_parameters():
        if f".{name}." in key:
            parameter.requires_grad_(False)
    return metadata


def check_adapter_fits(denoiser: Adaptable, state: Mapping[str, Tensor], rank: int) -> None:
    """Raise ValueError, naming the first weight that differs, unless ``state`` is an adapter of this network."""
    expected, ends = {}, tuple(f".{target}" for target in denoiser.backbone.lora_targets)
    for key, module in denoiser.network.named_modules():
        key = key.removesuffix(".base_layer")
        if isinstance(module, nn.Linear) and key.endswith(ends):
            expected[f"{key}.lora_A.weight"] = (rank, module.in_features)
            expected[f"{key}.lora_B.weight"] = (module.out_features, rank)
    check_shapes(state, expected)


def check_shapes(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError, naming the first weight that differs, unless ``state`` has the expected keys and shapes."""
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise ValueError(f"adapter does not fit: {_some('missing', missing)}, {_some('unknown', unknown)}")
    for key, shape in expected.items():
        if tuple(state[key].shape) != shape:
            raise ValueError(f"adapter does not fit: {key} has shape {tuple(state[key].shape)}, expected {shape}")


def _some(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what} keys" + (f" (first {keys[0]})" if keys else "")
