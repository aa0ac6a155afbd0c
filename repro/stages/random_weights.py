"""A pipeline of the true architecture with random weights: all that a clock needs."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5EncoderModel,
)

from swd.backbones import backbone_named
from swd.pipelines import (
    ScalewiseFluxPipeline,
    ScalewiseStableDiffusion3Pipeline,
    ScalewiseStableDiffusionXLPipeline,
)

WORDS = tuple(
    [
        "a",
        "the",
        "one",
        "two",
        "three",
        "red",
        "green",
        "blue",
        "black",
        "white",
        "left",
        "right",
        "above",
        "below",
        "of",
        "and",
        "in",
        "on",
        "at",
        "with",
    ]
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Classes that the pipelines of a backbone are made of; text encoders in the order of their configs."""

    pipeline: type[Any]
    network: type[Any]
    text_encoders: tuple[type[Any], ...]
    scheduler: type[Any]


_LAYOUTS = {
    "sd3": _Layout(
        ScalewiseStableDiffusion3Pipeline,
        SD3Transformer2DModel,
        (CLIPTextModelWithProjection, CLIPTextModelWithProjection, T5EncoderModel),
        FlowMatchEulerDiscreteScheduler,
    ),
    "sdxl": _Layout(
        ScalewiseStableDiffusionXLPipeline,
        UNet2DConditionModel,
        (CLIPTextModel, CLIPTextModelWithProjection),
        EulerDiscreteScheduler,
    ),
    "flux": _Layout(
        ScalewiseFluxPipeline, FluxTransformer2DModel, (CLIPTextModel, T5EncoderModel), FlowMatchEulerDiscreteScheduler
    ),
}


def random_pipeline(architecture: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    """Networks drawn from seed 0 where they will run; tokenizers that learned nothing, and cost as much as true ones.

    Args:
        architecture: ``backbone``, configs of its network under the name of its component, of ``vae`` and
            ``scheduler``, and of its ``text_encoders`` in order, of which SD3's last, T5, may be left out.
        device: where they live; "meta" gives shapes alone.
        dtype: of all networks.

    Returns:
        The scale-wise pipeline of that backbone.
    """
    backbone = backbone_named(architecture["backbone"])
    layout, configs = _LAYOUTS[backbone.name], architecture["text_encoders"]
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(), device:
            torch.manual_seed(0)
            parts: dict[str, Any] = {backbone.component: layout.network(**architecture[backbone.component])}
            parts["vae"] = AutoencoderKL(**architecture["vae"])
            for name, kind, config in zip(backbone.text_encoders, layout.text_encoders, configs, strict=False):
                parts[name] = kind(kind.config_class(**config))
    finally:
        torch.set_default_dtype(before)
    for network in parts.values():
        network.eval().requires_grad_(False)
    for name, kind, encoder in zip(backbone.tokenizers, layout.text_encoders, backbone.text_encoders, strict=True):
        is_t5, there = kind is T5EncoderModel, encoder in parts
        make = _word_tokenizer if is_t5 else partial(_letter_tokenizer, configs[0]["max_position_embeddings"])
        parts[name] = make() if there else None
    if backbone.name == "sd3" and len(configs) == 2:
        parts["max_sequence_length"] = 0
    return layout.pipeline(scheduler=layout.scheduler(**architecture["scheduler"]), **parts)


def random_tiny_vae(architecture: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> AutoencoderTiny:
    """The tiny autoencoder of an architecture, drawn from seed 0."""
    with torch.random.fork_rng(), device:
        torch.manual_seed(0)
        return nn.Module.to(AutoencoderTiny(**architecture["tiny_vae"]), dtype).eval()


def _letter_tokenizer(length: int) -> CLIPTokenizer:
    """In CLIP's layout, every letter a token: one form inside a word, one that ends it."""
    letters = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase + string.digits]
    vocabulary = {token: index for index, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length)


def _word_tokenizer() -> PreTrainedTokenizerFast:
    """In T5's layout, every word a token; those that it does not know are the same one."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
