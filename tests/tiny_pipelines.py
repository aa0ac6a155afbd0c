"""Pipelines as users have them, small enough to build in a test: the real classes with random weights, T5 included.

Each has the structure of its original (blocks, norms, tokenizers, the files that `save` writes); widths and depths are
tiny, and the VAE halves a side only once.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import clip_config, make_tokenizer
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5TokenizerFast

from swd.pipelines import (
    ScalewiseFluxPipeline,
    ScalewiseStableDiffusion3Pipeline,
    ScalewiseStableDiffusionXLPipeline,
)

T5_WIDTH, CLIP_WIDTH, LATENT_CHANNELS = 32, 16, 4
T5_LENGTH = 512  # tokens that the tokenizer of every published T5 takes
SHARD = "40KB"  # of weights, so that even these networks fill several files
NETWORK = {"sd35-medium": "transformer", "sd35-large": "transformer", "sdxl": "unet", "flux": "transformer"}
SCALEWISE: dict[str, Any] = {
    "sd35-medium": ScalewiseStableDiffusion3Pipeline,
    "sdxl": ScalewiseStableDiffusionXLPipeline,
    "flux": ScalewiseFluxPipeline,
}


def make(name: str, *, seed: int = 0, t5: bool = True) -> Any:
    """One of ``NETWORK`` by name, or FLUX.1-schnell.

    Args:
        name: sd35-medium (a second attention in the first blocks), sd35-large, sdxl, flux, or flux-schnell (which takes
            no guidance scale).
        seed: of the weights.
        t5: SD3.5 alone may go without.
    """
    builders: dict[str, Callable[[], Any]] = {
        "sd35-medium": lambda: _sd35(dual_attention_layers=(0, 1), t5=t5),
        "sd35-large": lambda: _sd35(dual_attention_layers=(), t5=t5),
        "sdxl": _sdxl,
        "flux": _flux,
        "flux-schnell": lambda: _flux(guidance_embeds=False),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = builders[name]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(pipeline: DiffusionPipeline, folder: Path, *, variant: str | None = None, shards: bool = False) -> Path:
    """Write it as it is published, with a variant in half precision or in several files per network; gives the folder.

    A folder without T5 says so: ``"text_encoder_3": [null, null]`` in its ``model_index.json``, as diffusers writes it.
    """
    if variant == "fp16":
        pipeline = pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, variant=variant, max_shard_size=SHARD if shards else "10GB")
    return folder


def class_name(folder: Path) -> str:
    """Pipeline class that a folder names."""
    name: str = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    return name


def make_t5() -> tuple[T5EncoderModel, T5TokenizerFast]:
    """T5's encoder and its unigram tokenizer, every letter a piece."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(chr(code), -3.0) for code in range(ord("a"), ord("z") + 1)]
    words = [(f"\N{LOWER ONE EIGHTH BLOCK}{word}", -1.0) for word in ("a", "red", "blue", "star", "of", "two")]
    pieces = [*special, ("\N{LOWER ONE EIGHTH BLOCK}", -2.0), *letters, *words]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=T5_LENGTH)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=T5_WIDTH,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config), tokenizer


def _vae(**config: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        layers_per_block=1,
        **config,
    )


def _sd35(*, dual_attention_layers: tuple[int, ...], t5: bool) -> StableDiffusion3Pipeline:
    """As SD3.5: three text encoders, normalised queries and keys; the last block drops the text."""
    tokenizers = make_tokenizer(), make_tokenizer(pad_token="!")
    clips = [CLIPTextModelWithProjection(clip_config(len(tokenizer))) for tokenizer in tokenizers]
    encoder_3, tokenizer_3 = make_t5() if t5 else (None, None)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * 8,
        pos_embed_max_size=64,
        qk_norm="rms_norm",
        dual_attention_layers=dual_attention_layers,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clips[0],
        tokenizer=tokenizers[0],
        text_encoder_2=clips[1],
        tokenizer_2=tokenizers[1],
        text_encoder_3=encoder_3,
        tokenizer_3=tokenizer_3,
    )


def _sdxl() -> StableDiffusionXLPipeline:
    """As SDXL: three resolutions, no attention in the first, two text encoders side by side, times and sizes added."""
    tokenizers = make_tokenizer(), make_tokenizer(pad_token="!")
    second = CLIPTextModelWithProjection(clip_config(len(tokenizers[1])))
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 32),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=2 * CLIP_WIDTH,
        use_linear_projection=True,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + second.config.projection_dim,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(clip_config(len(tokenizers[0]))),
        text_encoder_2=second,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=True,
    )


def _flux(*, guidance_embeds: bool = True) -> FluxPipeline:
    """As FLUX.1-dev: CLIP for the pooled text, T5 for the tokens, an embedded guidance, double and single blocks."""
    tokenizer = make_tokenizer()
    encoder_2, tokenizer_2 = make_t5()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(clip_config(len(tokenizer))),
        tokenizer=tokenizer,
        text_encoder_2=encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=transformer,
    )
