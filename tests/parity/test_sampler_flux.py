"""FLUX's samplers against diffusers' scheduler and pipeline, on the same noise."""

import pytest
import tiny_pipelines
import torch
from diffusers import FlowMatchLCMScheduler, FluxPipeline

from swd.backbones.flux.backbone import BACKBONE
from swd.backbones.flux.condition import FluxCondition
from swd.backbones.flux.denoiser import FluxDenoiser
from swd.pipelines import ScalewiseFluxPipeline
from swd.sampler import sample_teacher

PROMPTS, SEEDS = ["a red star", "two blue"], [3, 4]


@pytest.fixture(scope="module")
def flux() -> FluxPipeline:
    return tiny_pipelines.make("flux")


@torch.no_grad()
def sample_with_diffusers(
    flux: FluxPipeline, sizes: list[tuple[int, int]], sigmas: list[float], cond: FluxCondition, guidance_scale: float
) -> torch.Tensor:
    """FluxPipeline's call of the transformer in the loop of FlowMatchLCMScheduler, which upscales what is unpacked."""
    factors = [rows / sizes[0][0] for rows, _ in sizes[1:]]
    scheduler = FlowMatchLCMScheduler(shift=1.0, scale_factors=factors, upscale_mode="bicubic")
    scheduler.set_timesteps(sigmas=sigmas)
    rngs = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    latents = torch.stack([torch.randn(4, *sizes[0], generator=rng) for rng in rngs])
    for timestep, (rows, columns) in zip(scheduler.timesteps, sizes, strict=True):
        tokens = flux.transformer(
            hidden_states=flux._pack_latents(latents, len(SEEDS), 4, rows, columns),
            timestep=timestep.expand(len(SEEDS)) / 1000,
            guidance=torch.full([1], guidance_scale).expand(len(SEEDS)),
            pooled_projections=cond.pooled,
            encoder_hidden_states=cond.prompt_embeds,
            txt_ids=torch.zeros(cond.prompt_embeds.shape[1], 3),
            img_ids=flux._prepare_latent_image_ids(len(SEEDS), rows // 2, columns // 2, "cpu", torch.float32),
            return_dict=False,
        )[0]
        velocity = flux._unpack_latents(tokens, 2 * rows, 2 * columns, 2)
        latents = scheduler.step(velocity, timestep, latents, generator=rngs, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("guidance_scale", [4.5, 2.0])
@pytest.mark.parametrize("size", [(16, 16), (8, 20)])
def test_teacher_sampler_is_the_pipeline(flux: FluxPipeline, size: tuple[int, int], guidance_scale: float) -> None:
    """The time shift follows the number of tokens, so another size is another grid."""
    expected = flux(
        PROMPTS,
        num_inference_steps=7,
        guidance_scale=guidance_scale,
        height=2 * size[0],
        width=2 * size[1],
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="latent",
        max_sequence_length=6,
    ).images
    expected = flux._unpack_latents(expected, 2 * size[0], 2 * size[1], 2)
    cond = BACKBONE.encode_prompts(flux, PROMPTS, token_length=6)
    found = sample_teacher(
        FluxDenoiser(flux.transformer),
        cond,
        None,
        SEEDS,
        side=size,
        num_steps=7,
        guidance_scale=guidance_scale,
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("guidance_scale", [None, 2.0])
@pytest.mark.parametrize(
    ("scales", "size", "sizes"),
    [
        ([8, 12, 16], (16, 16), [(8, 8), (12, 12), (16, 16)]),
        ([8, 12, 16], (16, 24), [(8, 12), (12, 18), (16, 24)]),
        ([12, 12], (12, 12), [(12, 12), (12, 12)]),
    ],
)
def test_scalewise_pipeline_is_the_lcm_scheduler(
    flux: FluxPipeline,
    scales: list[int],
    size: tuple[int, int],
    sizes: list[tuple[int, int]],
    guidance_scale: float | None,
) -> None:
    sigmas = [1.0, 0.8956, 0.6][: len(scales)]
    ours = ScalewiseFluxPipeline(**flux.components)
    ours.set_progress_bar_config(disable=True)
    found = ours(
        PROMPTS,
        scales=scales,
        sigmas=sigmas,
        guidance_scale=guidance_scale,
        height=2 * size[0],
        width=2 * size[1],
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        max_sequence_length=6,
        output_type="latent",
    ).images
    cond = BACKBONE.encode_prompts(flux, PROMPTS, token_length=6)
    expected = sample_with_diffusers(flux, sizes, sigmas, cond, guidance_scale or 4.5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
