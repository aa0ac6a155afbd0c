"""SDXL against diffusers: its pipeline with DDIM, and a written-out loop with DDPM's noise, on the same noise."""

from functools import cache
from typing import Any

import pytest
import tiny_pipelines
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from swd.pipelines import ScalewiseStableDiffusionXLPipeline
from swd.sampler import sample_teacher
from swd.schedule import ScaleSchedule

SCHEDULE = ScaleSchedule((8, 10, 12, 16), (1.0, 0.8, 0.6, 0.4, 0.0))
SIZES = {
    (16, 16): [(8, 8), (10, 10), (12, 12), (16, 16)],
    (13, 19): [(7, 10), (8, 12), (10, 14), (13, 19)],  # as 832 x 1216: times s_i / 16, rounded
}
PROMPTS, SEEDS = ["a red star", "two blue circles"], [3, 8]


@cache
def pipeline() -> ScalewiseStableDiffusionXLPipeline:
    return ScalewiseStableDiffusionXLPipeline(**tiny_pipelines.make("sdxl").components)


def noises(sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Of every step, image by image from its own generator."""
    rngs = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    return [torch.stack([torch.randn(4, *size, generator=rng) for rng in rngs]) for size in sizes]


@torch.no_grad()
def written_out(pipe: Any, sizes: list[tuple[int, int]], timesteps: list[int]) -> Tensor:
    """The published loop: predict the noise, solve for x0, upscale, renoise with DDPMScheduler."""
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    embeds, _, pooled, _ = pipe.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    height, width = (pipe.vae_scale_factor * side for side in sizes[-1])
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[height, width, 0, 0, height, width]] * len(PROMPTS))}
    drawn = noises(sizes)
    x_t = drawn[0]
    for step, timestep in enumerate(timesteps):
        noise = pipe.unet(x_t, timestep, embeds, added_cond_kwargs=added).sample
        power = scheduler.alphas_cumprod[timestep]
        x0 = (x_t - (1 - power).sqrt() * noise) / power.sqrt()
        if step + 1 < len(timesteps):
            x0 = F.interpolate(x0, size=sizes[step + 1], mode="bicubic", align_corners=False)
            x_t = scheduler.add_noise(x0, drawn[step + 1], torch.tensor(timesteps[step + 1]))
    return x0


def close(found: Tensor, expected: Tensor, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=rtol * expected.abs().max().item())


@pytest.mark.parametrize("size", SIZES)
def test_sampler_is_the_written_out_loop(size: tuple[int, int]) -> None:
    pipe, factor = pipeline(), pipeline().vae_scale_factor
    assert list(SCHEDULE.latent_sizes(size)) == SIZES[size]
    expected = written_out(pipe, SIZES[size], [999, 799, 599, 399])
    call = {"scales": SCHEDULE.scales, "timesteps": torch.tensor([1000.0, 800.0, 600.0, 400.0, 0.0])}
    found = pipe(
        PROMPTS, **call, height=factor * size[0], width=factor * size[1], seeds=SEEDS, output_type="latent"
    ).images
    close(found, expected)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_teacher_sampler_is_the_pipeline(guidance_scale: float) -> None:
    plain = tiny_pipelines.make("sdxl")
    # trailing, and with a clean end: t = 1000, 900, ..., 100, then x0
    plain.scheduler = DDIMScheduler.from_config(
        plain.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False
    )
    expected = plain(
        PROMPTS,
        num_inference_steps=10,
        guidance_scale=guidance_scale,
        height=24,
        width=40,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="latent",
    ).images
    pipe = pipeline()
    cond, uncond = (cond.for_image(24, 40) for cond in (pipe.encode_condition(PROMPTS), pipe.encode_uncond()))
    found = sample_teacher(
        pipe.denoiser(), cond, uncond, SEEDS, side=(12, 20), num_steps=10, guidance_scale=guidance_scale
    )
    close(found, expected, 1e-4)


def test_images_are_those_of_diffusers_for_latents() -> None:
    pipe = pipeline()
    latents = pipe(PROMPTS, schedule=SCHEDULE, seeds=SEEDS, output_type="latent").images
    decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    expected = pipe.image_processor.postprocess(decoded.detach(), output_type="pt")
    torch.testing.assert_close(pipe(PROMPTS, schedule=SCHEDULE, seeds=SEEDS, output_type="pt").images, expected)
