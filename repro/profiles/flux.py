"""FLUX.1-dev with its released student."""

from dataclasses import replace

from repro.harness.profile import Distil, Profile, Teacher, Weights
from repro.harness.systems import HubFile
from repro.profiles import benchmark, flux_architecture

PROFILE = Profile(
    name="flux",
    title="FLUX.1-dev",
    caption="FLUX.1-dev at 1024 px, a model with its guidance distilled into it.",
    presets="flux",
    columns=benchmark.COLUMNS,
    prompt_sets=benchmark.PROMPT_SETS,
    images_per_set=benchmark.IMAGES_PER_SET,
    data=benchmark.DATA,
    weights=Weights(
        pipeline="black-forest-labs/FLUX.1-dev",
        released={"scalewise_4": HubFile("yresearch/swd_flux")},
        tiny_pipeline="madebyollin/taef1",
        vae_config=flux_architecture.VAE,
        architecture=flux_architecture.PIPELINE,
    ),
    scorers=benchmark.SCORERS,
    optional=benchmark.OPTIONAL,
    optional_sets=benchmark.OPTIONAL_SETS,
    execution=replace(benchmark.EXECUTION, dtype="bfloat16"),
    teacher=Teacher(steps=30, guidance_scale=1.0, embedded_guidance=3.5),
    distil=Distil(common={"mixed_precision": "bf16", "feature_block": 30, "guidance_scale": 4.5}),  # studies/flux.toml
    committed=True,
    suffix="flux",
)
