"""SD3.5 Large with its released students; its VAE is that of SD3.5 Medium."""

from dataclasses import replace

from repro.harness.profile import Distil, Teacher
from repro.harness.systems import HubFile
from repro.profiles import sd35_architecture, sd35_medium

PROFILE = replace(
    sd35_medium.PROFILE,
    name="sd35-large",
    title="SD3.5 Large",
    caption="Stable Diffusion 3.5 Large at 1024 px.",
    weights=replace(
        sd35_medium.WEIGHTS,
        pipeline="stabilityai/stable-diffusion-3.5-large",
        released={
            "scalewise_6": HubFile("yresearch/swd-large-6-steps"),
            "scalewise_4": HubFile("yresearch/swd-large-4-steps"),
        },
        architecture={**sd35_architecture.PIPELINE, "transformer": sd35_architecture.LARGE},
    ),
    teacher=Teacher(steps=28, guidance_scale=4.5),  # as it drew the training images
    distil=Distil(common={**sd35_medium.DISTIL.common, "guidance_scale": 4.5, "feature_block": 20}),
    suffix="sd35-large",
)
