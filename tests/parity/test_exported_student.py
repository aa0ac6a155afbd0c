"""An exported student gives the same images in plain diffusers and in ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchLCMScheduler, StableDiffusion3Pipeline

from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.lora.bank import AdapterBank
from swd.lora.files import save_adapter
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import ScaleSchedule, preset

PROMPTS = ["a red star", "a blue cross left of a red square"]
SEEDS = [0, 1]


@pytest.fixture
def adapter(tiny_pipeline_folder: Path, tmp_path: Path) -> Path:
    """A student that differs from the teacher, with alpha other than rank so that scaling matters."""
    pipeline = ScalewiseStableDiffusion3Pipeline.from_pretrained(tiny_pipeline_folder, max_sequence_length=4)
    bank = AdapterBank(SD3Denoiser(pipeline.transformer), rank=4, alpha=6, seed=0)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in bank.parameters("student"):
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=rng))
    save_adapter(bank, "student", tmp_path, {"preset": "mini-4"})
    return tmp_path


def draw(plain: StableDiffusion3Pipeline, schedule: ScaleSchedule, prompt: str, seed: int) -> np.ndarray:
    """One image of plain diffusers, which hands its generator to the first noise only: seed the global rng instead."""
    side = schedule.scales[0] * plain.vae_scale_factor
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return plain(
            prompt,
            sigmas=list(schedule.sigmas[:-1]),
            num_inference_steps=schedule.num_steps,
            guidance_scale=0.0,
            height=side,
            width=side,
            output_type="np",
            max_sequence_length=4,
        ).images


def test_plain_diffusers_draws_the_same_images(tiny_pipeline_folder: Path, adapter: Path) -> None:
    schedule = preset("mini-4")
    ours = ScalewiseStableDiffusion3Pipeline.from_pretrained(tiny_pipeline_folder, max_sequence_length=4)
    ours.set_progress_bar_config(disable=True)
    teacher_images = ours(PROMPTS, schedule=schedule, seeds=SEEDS, output_type="np").images
    ours.load_lora_weights(adapter)
    actual = ours(PROMPTS, schedule=schedule, seeds=SEEDS, output_type="np").images

    plain = StableDiffusion3Pipeline.from_pretrained(tiny_pipeline_folder, text_encoder_3=None, tokenizer_3=None)
    plain.set_progress_bar_config(disable=True)
    plain.load_lora_weights(adapter)
    factors = [scale / schedule.scales[0] for scale in schedule.scales[1:]]
    plain.scheduler = FlowMatchLCMScheduler(shift=1.0, scale_factors=factors, upscale_mode="bicubic")
    expected = np.concatenate([draw(plain, schedule, *pair) for pair in zip(PROMPTS, SEEDS, strict=True)])

    assert actual.shape == expected.shape == (2, 64, 64, 3)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    assert np.abs(actual - teacher_images).max() > 1e-3
