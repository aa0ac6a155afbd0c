"""FLUX.1-dev without its weights, for timing and counting: facts of the published configs."""

from typing import Any

from repro.profiles.sd35_architecture import CLIP_L, T5_XXL
from repro.profiles.sd35_architecture import VAE as SD35_VAE

TRANSFORMER: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
VAE: dict[str, Any] = {**SD35_VAE, "scaling_factor": 0.3611, "shift_factor": 0.1159}
TINY_VAE: dict[str, Any] = {"latent_channels": 16}
SCHEDULER: dict[str, Any] = {
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
PIPELINE: dict[str, Any] = {
    "backbone": "flux",
    "transformer": TRANSFORMER,
    "vae": VAE,
    "tiny_vae": TINY_VAE,
    "text_encoders": (CLIP_L, T5_XXL),
    "scheduler": SCHEDULER,
}
