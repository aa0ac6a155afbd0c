"""Image towers of transformers as feature networks: read from a folder or a hub name, every tensor from the file."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from repro.metrics.base import WeightsError
from repro.metrics.weights import digests, resolve

FILES = ("config.json", "*.safetensors|*.bin")


def load_tower(network: Any, source: str, *, revision: str | None, model_type: str) -> tuple[Any, dict[str, str]]:
    """Read a network in float32 and the hashes of its files.

    Args:
        network: transformers' class.
        source: folder, or name on the hub.
        revision: of a hub name.
        model_type: what the folder's config.json must say.

    Raises:
        WeightsError: nothing there, truncated, another model, or tensors missing; transformers alone would draw them at
            random and warn.
    """
    folder = resolve(source, revision=revision, files=FILES)
    check_type(folder, model_type)
    try:
        model, report = network.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True, local_files_only=True
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise WeightsError(f"cannot read {network.__name__} from {folder}: {error}") from error
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if keys := sorted(map(str, report[problem])):
            raise WeightsError(f"{folder}: {len(keys)} {problem.replace('_', ' ')}, the first is {keys[0]}")
    return model.requires_grad_(False).eval(), digests(folder, FILES)


def check_type(folder: Path, model_type: str) -> None:
    """Refuse a folder of another model."""
    found = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
    if found != model_type:
        raise WeightsError(f"{folder} holds a model of type {found!r}, expected {model_type!r}")
