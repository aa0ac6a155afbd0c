"""SDXL. So far only its VAE is measured (Figure 1); its tables need metrics that are not built yet."""

from repro.harness.profile import Data, Distil, Profile, Teacher, Weights
from repro.profiles import sdxl_architecture

PROFILE = Profile(
    name="sdxl",
    title="SDXL",
    caption="The VAE of Stable Diffusion XL on images of 1024 px; its noise process preserves the variance.",
    presets="sdxl",
    columns=(),
    prompt_sets=(),
    images_per_set=0,
    data=Data(resolution=1024, world="repro.worlds.mini.world:MiniWorld"),
    weights=Weights(
        pipeline="stabilityai/stable-diffusion-xl-base-1.0",
        vae_config=sdxl_architecture.VAE,
        architecture=sdxl_architecture.PIPELINE,
    ),
    teacher=Teacher(process="variance-preserving", shift=1.0, steps=50, guidance_scale=5.0),
    distil=Distil(  # PDM alone, on the middle block, as published: studies/sdxl.toml
        common={"mixed_precision": "bf16", "feature_block": 3, "weight_dmd": 0.0, "weight_gan": 0.0}
    ),
    committed=True,
    suffix="sdxl",
)
