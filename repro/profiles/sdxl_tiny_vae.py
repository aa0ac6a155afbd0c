"""SDXL with the tiny autoencoder TAESDXL in place of its VAE."""

from dataclasses import replace

from repro.harness.profile import Weights
from repro.profiles import sdxl, sdxl_architecture

PROFILE = replace(
    sdxl.PROFILE,
    name="sdxl-tiny-vae",
    title="SDXL with a tiny VAE",
    caption="TAESDXL, the tiny autoencoder of Stable Diffusion XL, on images of 1024 px.",
    columns=(),
    scorers=(),
    weights=Weights(pipeline="madebyollin/taesdxl", tiny=True, vae_config=sdxl_architecture.TINY_VAE),
    suffix="sdxl-tiny-vae",
)
