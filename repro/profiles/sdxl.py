"""SDXL. So far only its VAE is measured (Figure 1); its tables need metrics that are not built yet."""

from repro.harness.experiment import Profile

PROFILE = Profile(
    name="sdxl",
    title="SDXL",
    caption="The VAE of Stable Diffusion XL on images of 1024 px; its noise process preserves the variance.",
    pipeline="stabilityai/stable-diffusion-xl-base-1.0",
    presets="sdxl",
    columns=(),
    prompt_sets=(),
    images_per_set=0,
    committed=True,
    suffix="sdxl",
    settings={
        "resolution": 1024,
        "process": "variance-preserving",
        # The architecture, for --random-weights: facts of the published config.json.
        "vae_config": {
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "sample_size": 1024,
            "scaling_factor": 0.13025,
        },
    },
)
