"""Options of ``from_pretrained`` as callers write them: what diffusers would set aside with a log line is refused."""

import difflib
import inspect
from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch

from swd.lora.released import T5_TOKENS
from swd.values import flag, shown, typed, whole

_WHERE = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")
_DIFFUSERS = {
    *_WHERE,
    *("dtype", "torch_dtype", "variant", "use_safetensors", "quantization_config", "disable_mmap", "mirror"),
    *("device_map", "max_memory", "offload_folder", "offload_state_dict", "low_cpu_mem_usage", "use_flashpack"),
    *("custom_pipeline", "custom_revision", "trust_remote_code", "load_connected_pipeline", "dduf_file"),
    *("provider", "sess_options", "provider_options", "use_onnx"),
    *("safety_checker", "requires_safety_checker"),  # of other pipelines: snippets say them for all alike
}
_SWITCHES = ("force_download", "local_files_only", "use_safetensors", "low_cpu_mem_usage")


def check_load_options(kind: type[Any], name: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what ``from_pretrained`` of a pipeline class cannot take.

    Args:
        kind: the class, whose constructor names the parts that may be given.
        name: folder, or name on the Hub.
        options: by name; None is diffusers' default.

    Returns:
        Those that say where files are.

    Raises:
        TypeError: an unknown option (names the nearest), or one of another type.
        ValueError: a number of tokens out of range.
    """
    if not isinstance(name, str | PathLike):
        raise TypeError(f"a pipeline is a folder or a name, got {typed(name)}")
    known = {*_DIFFUSERS, *inspect.signature(kind.__init__).parameters}
    for option, value in options.items():
        if option not in known:
            near = ", ".join(difflib.get_close_matches(option, known, n=3, cutoff=0.5)) or "none"
            raise TypeError(f"from_pretrained does not take {option}={shown(value)}; nearest options: {near}")
        if value is not None:
            _check(option, value)
    return {key: options[key] for key in _WHERE if key in options}


def _check(option: str, value: Any) -> None:
    if option in ("dtype", "torch_dtype"):
        for one in value.values() if isinstance(value, Mapping) else (value,):
            if not isinstance(one, torch.dtype) or not one.is_floating_point:
                raise TypeError(f"{option} must be a torch.dtype of floating-point numbers, got {typed(one)}")
    elif option in _SWITCHES:
        flag(option, value)
    elif option in ("variant", "revision") and not (isinstance(value, str) and value):
        raise TypeError(f"{option} must be a name, got {typed(value)}")
    elif option == "max_sequence_length":
        whole(option, value, 0, T5_TOKENS)
