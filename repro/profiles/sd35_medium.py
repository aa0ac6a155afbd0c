"""SD3.5 Medium. So far its VAE (Figure 1) and its times (Table 3); tables of quality need metrics not yet built."""

from repro.harness.profile import Data, Distil, Profile, Weights
from repro.profiles import sd35_architecture

WEIGHTS = Weights(
    pipeline="stabilityai/stable-diffusion-3.5-medium",
    tiny_pipeline="madebyollin/taesd3",
    vae_config=sd35_architecture.VAE,
    architecture={**sd35_architecture.PIPELINE, "transformer": sd35_architecture.MEDIUM},
)
DISTIL = Distil(common={"batch_size": 4, "mixed_precision": "bf16"})

PROFILE = Profile(
    name="sd35-medium",
    title="SD3.5 Medium",
    caption="Stable Diffusion 3.5 Medium at 1024 px.",
    presets="sd35",
    columns=(),
    prompt_sets=(),
    images_per_set=0,
    data=Data(resolution=1024, world="repro.worlds.mini.world:MiniWorld"),
    weights=WEIGHTS,
    distil=DISTIL,
    committed=True,
    suffix="sd35-medium",
)
