"""FLUX.1-dev in ComfyUI: network, text encoders and VAE are files of their own."""

from swd.lora.workflow import ComfyModel

_TEXT_ENCODERS = {"clip_name1": "t5xxl_fp16.safetensors", "clip_name2": "clip_l.safetensors", "type": "flux"}

COMFY = ComfyModel(
    loaders={
        "base": ("UNETLoader", {"unet_name": "{base}", "weight_dtype": "default"}),
        "text encoders": ("DualCLIPLoader", _TEXT_ENCODERS),
        "vae": ("VAELoader", {"vae_name": "ae.safetensors"}),
    },
    model=("base", 0),
    clip=("text encoders", 0),
    vae=("vae", 0),
    files={"FLUX.1-dev": "flux1-dev.safetensors"},
    latent="EmptySD3LatentImage",
    takes_guidance=True,
)
