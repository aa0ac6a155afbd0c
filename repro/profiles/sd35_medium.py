"""SD3.5 Medium. So far only its VAE is measured (Figure 1); its tables need metrics that are not built yet."""

from repro.harness.experiment import Profile
from repro.profiles import sd35_architecture

PROFILE = Profile(
    name="sd35-medium",
    title="SD3.5 Medium",
    caption="The VAE of Stable Diffusion 3.5 Medium on images of 1024 px.",
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
        "vae_config": sd35_architecture.VAE,  # for --random-weights
    },
)
