"""FLUX.1-dev. So far its architecture, to count, and its VAE; tables of quality need metrics not yet built."""

from repro.harness.profile import Data, Distil, Profile, Teacher, Weights
from repro.profiles import flux_architecture

PROFILE = Profile(
    name="flux",
    title="FLUX.1-dev",
    caption="FLUX.1-dev at 1024 px, a model with its guidance distilled into it.",
    presets="flux",
    columns=(),
    prompt_sets=(),
    images_per_set=0,
    data=Data(resolution=1024, world="repro.worlds.mini.world:MiniWorld"),
    weights=Weights(
        pipeline="black-forest-labs/FLUX.1-dev",
        tiny_pipeline="madebyollin/taef1",
        vae_config=flux_architecture.VAE,
        architecture=flux_architecture.PIPELINE,
    ),
    teacher=Teacher(guidance_scale=1.0),
    distil=Distil(common={"mixed_precision": "bf16", "feature_block": 30, "guidance_scale": 4.5}),  # studies/flux.toml
    committed=True,
    suffix="flux",
)
