"""Published text-to-image systems with the settings that their authors give on each model's page: rows of Table 4."""

from typing import Any

from repro.harness.systems import HubFile, System

SDXL_BASE = HubFile("stabilityai/stable-diffusion-xl-base-1.0")
MEDIUM = HubFile("stabilityai/stable-diffusion-3.5-medium")
LARGE = HubFile("stabilityai/stable-diffusion-3.5-large")
FLUX = HubFile("black-forest-labs/FLUX.1-dev")
STABILITY = "Stability AI Community License, to be accepted on the model's page"
BFL = "FLUX.1 [dev] Non-Commercial License, to be accepted on the model's page"
OF_SDXL: dict[str, Any] = {"base": SDXL_BASE, "architecture": "sdxl", "parameters": 2.6, "variant": "fp16"}
OF_MEDIUM: dict[str, Any] = {"base": MEDIUM, "architecture": "sd35-medium", "parameters": 2.2, "licence": STABILITY}
OF_LARGE: dict[str, Any] = {"base": LARGE, "architecture": "sd35-large", "parameters": 8.0, "licence": STABILITY}
OF_FLUX: dict[str, Any] = {"base": FLUX, "architecture": "flux", "parameters": 12.0, "licence": BFL, "no_float16": True}

SDXL = System(**OF_SDXL, steps=50, guidance_scale=5.0)
SDXL_TURBO = System(
    base=HubFile("stabilityai/sdxl-turbo"),
    steps=4,
    guidance_scale=0.0,
    resolution=512,
    variant="fp16",
    architecture="sdxl",
    parameters=2.6,
    licence="Stability AI Non-Commercial Research Community License",
)
DMD2_SDXL = System(
    **OF_SDXL,
    steps=4,
    guidance_scale=0.0,
    network=HubFile("tianweiy/DMD2", "dmd2_sdxl_4step_unet_fp16.bin"),
    scheduler="LCMScheduler",
    call={"timesteps": [999, 749, 499, 249]},
    licence="CC BY-NC 4.0",
)
HYPER_SDXL = System(
    **OF_SDXL,
    steps=4,
    guidance_scale=0.0,
    lora=HubFile("ByteDance/Hyper-SD", "Hyper-SDXL-4steps-lora.safetensors"),
    scheduler="DDIMScheduler",
    scheduler_options={"timestep_spacing": "trailing"},
)
SWD_SDXL = System(**OF_SDXL, steps=4, student=HubFile("yresearch/swd-sdxl"))
SD35_MEDIUM = System(**OF_MEDIUM, steps=40, guidance_scale=4.5)
SD35_MEDIUM_TURBO = System(
    base=HubFile("tensorart/stable-diffusion-3.5-medium-turbo"),
    steps=4,
    guidance_scale=1.5,
    scheduler="FlowMatchEulerDiscreteScheduler",
    scheduler_options={"shift": 5.0},
    architecture="sd35-medium",
    parameters=2.2,
    licence=STABILITY,
)
SWD_MEDIUM_6 = System(**OF_MEDIUM, steps=6, student=HubFile("yresearch/swd-medium-6-steps"))
SWD_MEDIUM_4 = System(**OF_MEDIUM, steps=4, student=HubFile("yresearch/swd-medium-4-steps"))
SD35_LARGE = System(**OF_LARGE, steps=28, guidance_scale=4.5)
SD35_LARGE_TURBO = System(
    base=HubFile("stabilityai/stable-diffusion-3.5-large-turbo"),
    steps=4,
    guidance_scale=0.0,
    architecture="sd35-large",
    parameters=8.0,
    licence=STABILITY,
)
SWD_LARGE_6 = System(**OF_LARGE, steps=6, student=HubFile("yresearch/swd-large-6-steps"))
SWD_LARGE_4 = System(**OF_LARGE, steps=4, student=HubFile("yresearch/swd-large-4-steps"))
FLUX_DEV = System(**OF_FLUX, steps=30, guidance_scale=3.5)
FLUX_TURBO_ALPHA = System(
    **OF_FLUX,
    steps=8,
    guidance_scale=3.5,
    lora=HubFile("alimama-creative/FLUX.1-Turbo-Alpha", "diffusion_pytorch_model.safetensors"),
)
HYPER_FLUX = System(
    **OF_FLUX,
    steps=8,
    guidance_scale=3.5,
    lora=HubFile("ByteDance/Hyper-SD", "Hyper-FLUX.1-dev-8steps-lora.safetensors"),
    lora_scale=0.125,
)
FLUX_SCHNELL = System(
    base=HubFile("black-forest-labs/FLUX.1-schnell"),
    steps=4,
    guidance_scale=0.0,
    call={"max_sequence_length": 256},
    architecture="flux",
    parameters=12.0,
    licence="Apache-2.0",
    no_float16=True,
)
SWD_FLUX = System(**OF_FLUX, steps=4, student=HubFile("yresearch/swd_flux"))
