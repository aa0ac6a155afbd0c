"""SDXL with the tiny autoencoder TAESDXL in place of its VAE."""

from dataclasses import replace

from repro.profiles import sdxl

PROFILE = replace(
    sdxl.PROFILE,
    name="sdxl-tiny-vae",
    title="SDXL with a tiny VAE",
    caption="TAESDXL, the tiny autoencoder of Stable Diffusion XL, on images of 1024 px.",
    pipeline="madebyollin/taesdxl",
    suffix="sdxl-tiny-vae",
    settings={"resolution": 1024, "process": "variance-preserving", "tiny": True, "vae_config": {"latent_channels": 4}},
)
