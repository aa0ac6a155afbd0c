"""Samplers against diffusers' schedulers and pipeline, on the same noise."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler, StableDiffusion3Pipeline

from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.sampler import sample, sample_teacher
from swd.schedule import ScaleSchedule, preset


def lcm_scheduler(schedule: ScaleSchedule) -> FlowMatchLCMScheduler:
    """Factors are relative to the first side and belong to the steps after the first."""
    factors = [scale / schedule.scales[0] for scale in schedule.scales[1:]]
    scheduler = FlowMatchLCMScheduler(shift=1.0, scale_factors=factors, upscale_mode="bicubic")
    scheduler.set_timesteps(sigmas=list(schedule.sigmas[:-1]))
    return scheduler


@torch.no_grad()
def sample_with_diffusers(
    denoiser: SD3Denoiser, schedule: ScaleSchedule, cond: TextCondition, seeds: list[int]
) -> torch.Tensor:
    scheduler = lcm_scheduler(schedule)
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    side = schedule.scales[0]
    latents = torch.stack([torch.randn(4, side, side, generator=rng) for rng in rngs])
    for timestep in scheduler.timesteps:
        velocity = denoiser.network(
            latents, cond.prompt_embeds, cond.pooled, timestep=timestep.expand(len(seeds)), return_dict=False
        )[0]
        latents = scheduler.step(velocity, timestep, latents, generator=rngs, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("name", ["mini-6", "mini-4", "mini-full-2"])
def test_scalewise_sampler_is_the_lcm_scheduler(
    name: str, tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition
) -> None:
    schedule, seeds = preset(name), [0, 5]
    expected = sample_with_diffusers(tiny_denoiser, schedule, tiny_condition[:2], seeds)
    actual = sample(tiny_denoiser, schedule, tiny_condition[:2], seeds)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_teacher_sampler_is_the_pipeline(tiny_pipeline: StableDiffusion3Pipeline, guidance_scale: float) -> None:
    seeds, prompts = [3, 4], ["a red star", "two blue circles"]
    assert isinstance(tiny_pipeline.scheduler, FlowMatchEulerDiscreteScheduler)
    expected = tiny_pipeline(
        prompts,
        num_inference_steps=7,
        guidance_scale=guidance_scale,
        height=32,
        width=32,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="latent",
        max_sequence_length=4,
    ).images
    pipeline = ScalewiseStableDiffusion3Pipeline(**tiny_pipeline.components, max_sequence_length=4)
    cond = pipeline.encode_condition(prompts)
    uncond = pipeline.encode_uncond()
    actual = sample_teacher(
        SD3Denoiser(pipeline.transformer), cond, uncond, seeds, side=16, num_steps=7, guidance_scale=guidance_scale
    )
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
