"""Hashes of network weights: what a cache or a saved state was made with."""

import hashlib
from typing import Any

import torch
from torch import nn

from swd.backbones import backbone_of

HASHED_VALUES = 4096


def pipeline_fingerprint(pipeline: Any) -> str:
    """Hash of the VAE and text encoder weights and of the tokenizers: what the content of a cache depends on."""
    backbone = backbone_of(pipeline)
    weights = weights_fingerprint({part: getattr(pipeline, part, None) for part in ("vae", *backbone.text_encoders)})
    digest = hashlib.sha256(weights.encode())
    for part in backbone.tokenizers:
        if (tokenizer := getattr(pipeline, part, None)) is not None:
            words = sorted(tokenizer.get_vocab().items())
            digest.update(f"{part} {tokenizer.model_max_length} {words}".encode())
    return digest.hexdigest()[:16]


def weights_fingerprint(modules: dict[str, Any]) -> str:
    """Hash of the weights of named networks; entries that are no network count as absent, LoRA layers too.

    Each tensor enters with its name, its shape and the signs of up to 4096 evenly spaced values. No rounding moves a
    sign (underflow gives a signed zero), so the same weights in any precision, by way of any other, count as the same.
    Values rounded to one precision would not: float32 -> float16 -> bfloat16 and float32 -> bfloat16 differ. Training
    turns signs in every network; what rescales weights and turns none is not seen.
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
        digest.update(torch.signbit(values.float()).cpu().numpy().tobytes())
