"""Hashes of network weights: what a cache or a saved state was made with."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swd.backbones import backbone_of
from swd.backbones.stored import StoredNetwork

HASHED_VALUES = 4096


def pipeline_fingerprint(pipeline: Any, *, folder: Path | None = None, variant: str | None = None) -> str:
    """Hash of the VAE and text encoder weights and of the tokenizers: what the content of a cache depends on.

    Args:
        pipeline: of a known backbone.
        folder: of the pipeline. Networks that were left out when it was opened are read from their files there, without
            being loaded: the value is that of the whole pipeline.
        variant: of the files.
    """
    backbone = backbone_of(pipeline)
    networks: dict[str, Any] = {part: getattr(pipeline, part, None) for part in ("vae", *backbone.text_encoders)}
    if folder is not None:
        networks |= {part: StoredNetwork.find(folder, part, variant) for part, found in networks.items() if not found}
    digest = hashlib.sha256(weights_fingerprint(networks).encode())
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
    for part, network in modules.items():
        if isinstance(network, nn.Module | StoredNetwork):
            digest.update(part.encode())
            for name, shape, signs in sorted(
                _stored(network) if isinstance(network, StoredNetwork) else _loaded(network)
            ):
                digest.update(f"{name}{shape}".encode())
                digest.update(signs)
    return digest.hexdigest()[:16]


def _loaded(module: nn.Module) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    for name, weight in module.state_dict().items():
        if ".lora_" not in name:
            flat = weight.detach().flatten()
            values = flat[:: -(-flat.numel() // HASHED_VALUES) or 1]
            signs = torch.signbit(values.float()).cpu().numpy().tobytes()
            yield name.replace(".base_layer.", "."), tuple(weight.shape), signs


def _stored(network: StoredNetwork) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    tensors = network.tensors()
    if tensors is None:  # names that only its own library can translate
        yield from _loaded(network.load())
        return
    for name, tensor in tensors.items():
        yield name, tensor.shape, tensor.signs(HASHED_VALUES)
