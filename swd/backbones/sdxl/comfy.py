"""SDXL in ComfyUI, which counts noise in units of the signal, and tells the network the size that a node says."""

from typing import Any

from swd.flow import VariancePreserving
from swd.lora.workflow import ComfyModel


def _level(sigma: float) -> float:
    signal, spread = VariancePreserving().coefficients(sigma)
    return float(spread / signal)


def _encode(side: int) -> tuple[str, dict[str, Any]]:
    """The size of the finished image at every step."""
    size = {"width": side, "height": side, "target_width": side, "target_height": side}
    return "CLIPTextEncodeSDXL", {**size, "crop_w": 0, "crop_h": 0}


COMFY = ComfyModel(
    loaders={"base": ("CheckpointLoaderSimple", {"ckpt_name": "{base}"})},
    model=("base", 0),
    clip=("base", 1),
    vae=("base", 2),
    files={"stable-diffusion-xl-base-1.0": "sd_xl_base_1.0.safetensors"},
    latent="EmptyLatentImage",
    encode=_encode,
    texts=("text_g", "text_l"),
    level=_level,
)
