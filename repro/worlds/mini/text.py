"""The text side of the mini pipeline: a CLIP tokenizer over the caption vocabulary and two small CLIP text towers."""

import json

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from repro.worlds.mini.scenes import CAPTION_WORDS
from swd.backbones.sd3.condition import TextCondition

TEXT_LENGTH = 12  # the longest caption has 8 words, plus the two end tokens
TEXT_WIDTH = 64
START, END = "<|startoftext|>", "<|endoftext|>"


def new_tokenizer() -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's layout in which every caption word is one token.

    Merges are learned from the word list alone, so the vocabulary is the same on every machine.
    """
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, min_frequency=0, special_tokens=[START, END], end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(CAPTION_WORDS, trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=TEXT_LENGTH)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids (B, 12), padded as the SD3 pipeline pads them."""
    encoded = tokenizer(captions, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt")
    return encoded.input_ids


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """An untrained text tower of two layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModelWithProjection(config)


def encode_text(towers: nn.ModuleList, ids: Tensor) -> TextCondition:
    """Condition on token ids (B, 12) as SD3 does: penultimate states and projections of both towers side by side."""
    outputs = [tower(ids, output_hidden_states=True) for tower in towers]
    embeds = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)  # (B, 12, 128)
    return TextCondition(embeds, torch.cat([output.text_embeds for output in outputs], dim=-1))
