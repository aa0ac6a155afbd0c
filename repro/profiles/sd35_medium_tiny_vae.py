"""SD3.5 Medium with the tiny autoencoder TAESD3 in place of its VAE, which needs no licence."""

from dataclasses import replace

from repro.harness.profile import Weights
from repro.profiles import sd35_architecture, sd35_medium

PROFILE = replace(
    sd35_medium.PROFILE,
    name="sd35-medium-tiny-vae",
    title="SD3.5 Medium with a tiny VAE",
    caption="TAESD3, the tiny autoencoder of Stable Diffusion 3.5, on images of 1024 px.",
    columns=(),
    scorers=(),
    weights=Weights(pipeline="madebyollin/taesd3", tiny=True, vae_config=sd35_architecture.TINY_VAE),
    suffix="sd35-medium-tiny-vae",
)
