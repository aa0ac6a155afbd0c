"""SD3.5, SDXL and FLUX in miniature: the structure of the true networks, for runs that show that they run."""

from typing import Any

from repro.profiles import flux_architecture, sd35_architecture, sdxl_architecture

_WIDTH, _CHANNELS = 32, 4
_CLIP: dict[str, Any] = {
    **sd35_architecture.CLIP_L,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 8,
}
_T5: dict[str, Any] = {
    **sd35_architecture.T5_XXL,
    "d_model": _WIDTH,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 2,
}
_VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "latent_channels": _CHANNELS,
    "norm_num_groups": 4,
}
_TINY_VAE: dict[str, Any] = {
    "latent_channels": _CHANNELS,
    "encoder_block_out_channels": (8, 8),
    "decoder_block_out_channels": (8, 8),
    "num_encoder_blocks": (1, 1),
    "num_decoder_blocks": (1, 1),
}


def _transformer(**differences: Any) -> dict[str, Any]:
    return {
        **sd35_architecture.MEDIUM,
        "sample_size": 32,
        "in_channels": _CHANNELS,
        "out_channels": _CHANNELS,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": _WIDTH,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 16,
        "pos_embed_max_size": 64,
        **differences,
    }


MEDIUM = _transformer(dual_attention_layers=(0,))
LARGE = _transformer(dual_attention_layers=())
SD35: dict[str, Any] = {
    **sd35_architecture.PIPELINE,
    "vae": {
        **_VAE,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
    "tiny_vae": _TINY_VAE,
    "text_encoders": (_CLIP, _CLIP, _T5),
}
SDXL: dict[str, Any] = {
    **sdxl_architecture.PIPELINE,
    "unet": {
        **sdxl_architecture.UNET,
        "sample_size": 32,
        "in_channels": _CHANNELS,
        "out_channels": _CHANNELS,
        "block_out_channels": (8, 16, 32),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (1, 2, 4),
        "cross_attention_dim": 32,
        "norm_num_groups": 4,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 8,
    },
    "vae": {**_VAE, "scaling_factor": 0.13025},
    "text_encoders": (_CLIP, _CLIP),
}
FLUX: dict[str, Any] = {
    **flux_architecture.PIPELINE,
    "transformer": {
        **flux_architecture.TRANSFORMER,
        "in_channels": 4 * _CHANNELS,
        "num_layers": 2,
        "num_single_layers": 3,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": _WIDTH,
        "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 6, 6),
    },
    "vae": {**_VAE, "scaling_factor": 0.3611, "shift_factor": 0.1159},
    "text_encoders": (_CLIP, _T5),
}
