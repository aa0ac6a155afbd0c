"""SD3.5 Medium with its released students, on the paper's prompts, in the paper's metrics."""

from repro.harness.profile import Distil, Profile, Teacher, Weights
from repro.harness.systems import HubFile
from repro.profiles import benchmark, sd35_architecture

WEIGHTS = Weights(
    pipeline="stabilityai/stable-diffusion-3.5-medium",
    released={
        "scalewise_6": HubFile("yresearch/swd-medium-6-steps"),
        "scalewise_4": HubFile("yresearch/swd-medium-4-steps"),
    },
    tiny_pipeline="madebyollin/taesd3",
    vae_config=sd35_architecture.VAE,
    architecture={**sd35_architecture.PIPELINE, "transformer": sd35_architecture.MEDIUM},
)
DISTIL = Distil(common={"mixed_precision": "bf16"})

PROFILE = Profile(
    name="sd35-medium",
    title="SD3.5 Medium",
    caption="Stable Diffusion 3.5 Medium at 1024 px.",
    presets="sd35",
    columns=benchmark.COLUMNS,
    prompt_sets=benchmark.PROMPT_SETS,
    images_per_set=benchmark.IMAGES_PER_SET,
    data=benchmark.DATA,
    weights=WEIGHTS,
    scorers=benchmark.SCORERS,
    optional=benchmark.OPTIONAL,
    optional_sets=benchmark.OPTIONAL_SETS,
    teacher=Teacher(  # steps and guidance as it drew the training images
        steps=40, guidance_scale=4.5, finishing_steps=28, finishing_guidance=7.0
    ),
    execution=benchmark.EXECUTION,
    distil=DISTIL,
    committed=True,
    suffix="sd35-medium",
)
