"""SD3.5 Medium. So far only its VAE is measured (Figure 1); its tables need metrics that are not built yet."""

from repro.harness.experiment import Profile

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
        # The architecture, for --random-weights: facts of the published config.json.
        "vae_config": {
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 16,
            "norm_num_groups": 32,
            "sample_size": 1024,
            "scaling_factor": 1.5305,
            "shift_factor": 0.0609,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
    },
)
