"""SD3.5 Medium. So far its VAE (Figure 1) and its times (Table 3); tables of quality need metrics not yet built."""

from repro.harness.experiment import Profile
from repro.profiles import sd35_architecture

PROFILE = Profile(
    name="sd35-medium",
    title="SD3.5 Medium",
    caption="Stable Diffusion 3.5 Medium at 1024 px.",
    pipeline="stabilityai/stable-diffusion-3.5-medium",
    presets="sd35",
    columns=(),
    prompt_sets=(),
    images_per_set=0,
    committed=True,
    suffix="sd35-medium",
    settings={
        "resolution": 1024,
        "process": "flow",
        # for --random-weights, and for clocks
        "vae_config": sd35_architecture.VAE,
        "architecture": {**sd35_architecture.PIPELINE, "transformer": sd35_architecture.MEDIUM},
        "tiny_pipeline": "madebyollin/taesd3",
        "distil": {"batch_size": 4, "mixed_precision": "bf16"},
        "distil_scalewise": {},
        "distil_fullscale": {},
    },
)
