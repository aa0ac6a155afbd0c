"""A pipeline of the true architecture with random weights: all that a clock needs."""

import string
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from swd.lora.released import T5_TOKENS
from swd.pipelines import ScalewiseStableDiffusion3Pipeline

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


def random_pipeline(
    architecture: Mapping[str, Any], device: torch.device, dtype: torch.dtype
) -> ScalewiseStableDiffusion3Pipeline:
    """Networks drawn from seed 0 where they will run; tokenizers that learned nothing, and cost as much as true ones.

    Args:
        architecture: configs of ``transformer`` and ``vae``, and of the ``text_encoders`` CLIP, CLIP and, if there is
            one, T5.
        device: where they live; "meta" gives shapes alone.
        dtype: of all networks.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(), device:
            torch.manual_seed(0)
            networks = _networks(architecture)
    finally:
        torch.set_default_dtype(before)
    length = architecture["text_encoders"][0]["max_position_embeddings"]
    clip = _letter_tokenizer(length)
    has_t5 = "text_encoder_3" in networks
    return ScalewiseStableDiffusion3Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        tokenizer=clip,
        tokenizer_2=clip,
        tokenizer_3=_word_tokenizer() if has_t5 else None,
        max_sequence_length=T5_TOKENS if has_t5 else 0,
        **networks,
    )


def random_tiny_vae(architecture: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> AutoencoderTiny:
    """The tiny autoencoder of an architecture, drawn from seed 0."""
    with torch.random.fork_rng(), device:
        torch.manual_seed(0)
        return nn.Module.to(AutoencoderTiny(**architecture["tiny_vae"]), dtype).eval()


def _networks(architecture: Mapping[str, Any]) -> dict[str, nn.Module]:
    clips = [CLIPTextModelWithProjection(CLIPTextConfig(**c)) for c in architecture["text_encoders"][:2]]
    made: dict[str, nn.Module] = {
        "transformer": SD3Transformer2DModel(**architecture["transformer"]),
        "vae": AutoencoderKL(**architecture["vae"]),
        "text_encoder": clips[0],
        "text_encoder_2": clips[1],
    }
    for config in architecture["text_encoders"][2:]:
        made["text_encoder_3"] = T5EncoderModel(T5Config(**config))
    return {name: network.eval().requires_grad_(False) for name, network in made.items()}


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
