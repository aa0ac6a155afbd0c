"""SD3.5 in ComfyUI; the three text encoders are files of their own."""

from swd.lora.workflow import ComfyModel

_TEXT_ENCODERS = {
    "clip_name1": "clip_l.safetensors",
    "clip_name2": "clip_g.safetensors",
    "clip_name3": "t5xxl_fp16.safetensors",
}

COMFY = ComfyModel(
    loaders={
        "base": ("CheckpointLoaderSimple", {"ckpt_name": "{base}"}),
        "text encoders": ("TripleCLIPLoader", _TEXT_ENCODERS),
    },
    model=("base", 0),
    clip=("text encoders", 0),
    vae=("base", 2),
    files={
        "stable-diffusion-3.5-medium": "sd3.5_medium.safetensors",
        "stable-diffusion-3.5-large": "sd3.5_large.safetensors",
    },
    latent="EmptySD3LatentImage",
)
