"""SDXL with its released student; its noise process preserves the variance."""

from repro.harness.profile import Distil, Profile, Teacher, Weights
from repro.harness.systems import HubFile
from repro.profiles import benchmark, sdxl_architecture

PROFILE = Profile(
    name="sdxl",
    title="SDXL",
    caption="Stable Diffusion XL at 1024 px; its noise process preserves the variance.",
    presets="sdxl",
    columns=benchmark.COLUMNS,
    prompt_sets=benchmark.PROMPT_SETS,
    images_per_set=benchmark.IMAGES_PER_SET,
    data=benchmark.DATA,
    weights=Weights(
        pipeline="stabilityai/stable-diffusion-xl-base-1.0",
        released={"scalewise_4": HubFile("yresearch/swd-sdxl")},
        tiny_pipeline="madebyollin/taesdxl",
        vae_config=sdxl_architecture.VAE,
        architecture=sdxl_architecture.PIPELINE,
    ),
    scorers=benchmark.SCORERS,
    optional=benchmark.OPTIONAL,
    optional_sets=benchmark.OPTIONAL_SETS,
    execution=benchmark.EXECUTION,
    teacher=Teacher(process="variance-preserving", shift=1.0, steps=50, guidance_scale=5.0),
    distil=Distil(  # PDM alone, on the middle block, as published: studies/sdxl.toml
        common={"mixed_precision": "bf16", "feature_block": 3, "weight_dmd": 0.0, "weight_gan": 0.0}
    ),
    committed=True,
    suffix="sdxl",
)
