"""Fixtures shared by all tests: a complete StableDiffusion3Pipeline small enough to build in a test."""

import os
from pathlib import Path

# before diffusers and transformers are imported: nothing is fetched, nothing is reported
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["ACCELERATE_USE_CPU"] = "true"  # bit-equal runs and references are those of the CPU

import pytest
import torch

if not torch.cuda.is_available():  # before triton is imported: its interpreter runs the kernels on the CPU
    os.environ["TRITON_INTERPRET"] = "1"

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser

WORDS = ("a", "red", "blue", "star", "cross", "square", "left", "of", "two", "circles")
MAX_LENGTH = 12


def make_tokenizer(*, pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's byte-pair layout with merges that rebuild a handful of words."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<|startoftext|>", "<|endoftext|>", pad_token, *letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        for end in range(1, len(pieces)):
            pair = ("".join(pieces[:end]), pieces[end])
            if pair not in merges:
                merges.append(pair)
                tokens.append("".join(pair))
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_LENGTH, pad_token=pad_token)


def clip_config(vocab_size: int) -> CLIPTextConfig:
    """CLIP's text tower with two layers."""
    return CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=32,
        projection_dim=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def make_transformer(*, num_layers: int = 2, num_heads: int = 2, seed: int = 0) -> SD3Transformer2DModel:
    """SD3 in miniature: patch 2, 4 latent channels, sides up to 32."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=num_layers,
            attention_head_dim=8,
            num_attention_heads=num_heads,
            joint_attention_dim=32,
            caption_projection_dim=8 * num_heads,
            pooled_projection_dim=16,
            pos_embed_max_size=16,
            qk_norm="rms_norm",
        ).eval()


def make_pipeline(*, seed: int = 0) -> StableDiffusion3Pipeline:
    """A complete pipeline with random weights, no T5."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = make_tokenizer()
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            layers_per_block=1,
            shift_factor=0.05,
            scaling_factor=1.3,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ).eval()
        encoders = [CLIPTextModelWithProjection(clip_config(len(tokenizer))).eval() for _ in range(2)]
        pipeline = StableDiffusion3Pipeline(
            transformer=make_transformer(seed=seed),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=vae,
            text_encoder=encoders[0],
            tokenizer=tokenizer,
            text_encoder_2=encoders[1],
            tokenizer_2=tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def tiny_pipeline() -> StableDiffusion3Pipeline:
    """A complete StableDiffusion3Pipeline of real classes: latent side up to 32, VAE factor 2, no T5."""
    return make_pipeline()


@pytest.fixture(scope="session")
def tiny_pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pipeline as a folder on disk; do not write into it."""
    folder = tmp_path_factory.mktemp("pipeline")
    make_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_denoiser() -> SD3Denoiser:
    """Three blocks, so that there is something before and after a tapped one."""
    return SD3Denoiser(make_transformer(num_layers=3))


@pytest.fixture
def tiny_condition() -> TextCondition:
    """Seven random prompts for `tiny_denoiser`."""
    rng = torch.Generator().manual_seed(7)
    return TextCondition(torch.randn(7, 5, 32, generator=rng), torch.randn(7, 16, generator=rng))
