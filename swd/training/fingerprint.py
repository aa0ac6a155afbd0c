"""Hashes of network weights: what a cache or a saved state was made with."""

import hashlib
from typing import Any

import torch
from torch import nn

HASHED_VALUES = 4096
TEXT_AND_VAE = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")


def pipeline_fingerprint(pipeline: Any) -> str:
    """Hash of the VAE and text encoder weights: what the content of a cache depends on."""
    return weights_fingerprint({part: getattr(pipeline, part, None) for part in TEXT_AND_VAE})


def weights_fingerprint(modules: dict[str, Any]) -> str:
    """Hash of the weights of named networks; entries that are no network count as absent, LoRA layers too.

    Each tensor enters with its name, shape and up to 4096 evenly spaced values rounded to bfloat16, so that the
    same weights loaded in another precision, or on another device, count as the same.
    """
    digest = hashlib.sha256()
    for part, module in modules.items():
        if isinstance(module, nn.Module):
            digest.update(part.encode())
            _hash_weights(digest, module)
    return digest.hexdigest()[:16]


def _hash_weights(digest: Any, module: nn.Module) -> None:
    weights = {name.replace(".base_layer.", "."): weight for name, weight in module.state_dict().items()}
    for name, weight in sorted(weights.items()):
        if ".lora_" in name:
            continue
        flat = weight.detach().flatten()
        values = flat[:: -(-flat.numel() // HASHED_VALUES) or 1]
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(values.float().bfloat16().cpu().view(torch.int16).numpy().tobytes())
