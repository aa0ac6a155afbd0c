"""832 x 1216 in miniature: pipelines of flow models against the loop of the paper, written out with diffusers' parts.

Sides of the earlier steps are the last ones times s_i / s_N, rounded to whole patches, which no scheduler of diffusers
can be told.
"""

from typing import Any

import pytest
import tiny_pipelines
import torch
import torch.nn.functional as F
from torch import Tensor

from swd.pipelines import ScalewiseFluxPipeline, ScalewiseStableDiffusion3Pipeline
from swd.schedule import ScaleSchedule

SCHEDULE = ScaleSchedule((16, 20, 24, 32), (1.0, 0.8959, 0.7371, 0.6022, 0.0))
SIZES = [(14, 20), (16, 24), (20, 28), (26, 38)]  # 13 x 19, 16.25 x 23.75, 19.5 x 28.5 in multiples of 2
PROMPTS, SEEDS, LENGTH = ["a red star", "two blue circles"], [3, 8], 16
PIPELINES = {
    "sd35-medium": ScalewiseStableDiffusion3Pipeline,
    "sd35-large": ScalewiseStableDiffusion3Pipeline,
    "flux": ScalewiseFluxPipeline,
}


def velocity_of_sd3(pipe: Any, x_t: Tensor, sigma: float) -> Tensor:
    embeds, _, pooled, _ = pipe.encode_prompt(
        PROMPTS, None, None, do_classifier_free_guidance=False, max_sequence_length=LENGTH
    )
    timestep = torch.full((len(PROMPTS),), 1000 * sigma)
    found: Tensor = pipe.transformer(x_t, embeds, pooled, timestep).sample
    return found


def velocity_of_flux(pipe: Any, x_t: Tensor, sigma: float) -> Tensor:
    embeds, pooled, text_ids = pipe.encode_prompt(PROMPTS, None, max_sequence_length=LENGTH)
    batch, channels, height, width = x_t.shape
    image_ids = pipe._prepare_latent_image_ids(batch, height // 2, width // 2, "cpu", torch.float32)
    found = pipe.transformer(
        hidden_states=pipe._pack_latents(x_t, batch, channels, height, width),
        timestep=torch.full((batch,), sigma),
        guidance=torch.full((batch,), 4.5),
        pooled_projections=pooled,
        encoder_hidden_states=embeds,
        txt_ids=text_ids,
        img_ids=image_ids,
    ).sample
    factor = pipe.vae_scale_factor
    unpacked: Tensor = pipe._unpack_latents(found, factor * height, factor * width, factor)
    return unpacked


@torch.no_grad()
def written_out(pipe: Any, name: str) -> Tensor:
    rngs = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    noises = [torch.stack([torch.randn(4, *size, generator=rng) for rng in rngs]) for size in SIZES]
    velocity = velocity_of_flux if name == "flux" else velocity_of_sd3
    x_t = noises[0]
    for step, sigma in enumerate(SCHEDULE.sigmas[:-1]):
        x0 = x_t - sigma * velocity(pipe, x_t, sigma)
        if step + 1 < SCHEDULE.num_steps:
            upscaled = F.interpolate(x0, size=SIZES[step + 1], mode="bicubic", align_corners=False)
            below = SCHEDULE.sigmas[step + 1]
            x_t = (1 - below) * upscaled + below * noises[step + 1]
    return x0


@pytest.mark.parametrize("name", PIPELINES)
def test_a_wide_image_is_the_written_out_loop(name: str) -> None:
    pipe = PIPELINES[name](**tiny_pipelines.make(name).components)
    pipe.set_progress_bar_config(disable=True)
    factor, (height, width) = pipe.vae_scale_factor, SIZES[-1]
    expected = written_out(pipe, name)
    found = pipe(
        PROMPTS,
        height=factor * height,
        width=factor * width,
        schedule=SCHEDULE,
        seeds=SEEDS,
        max_sequence_length=LENGTH,
        output_type="latent",
    ).images
    assert found.shape == (2, 4, 26, 38)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
