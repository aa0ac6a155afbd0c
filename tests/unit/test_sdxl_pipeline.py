"""SDXL's pipeline as its users call it, and folders that are no SDXL."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, EDMEulerScheduler, StableDiffusionXLPipeline
from torch import Tensor

from swd.backbones.loading import load_pipeline
from swd.backbones.sdxl.denoiser import SDXLDenoiser
from swd.errors import PipelineError
from swd.pipelines import ScalewiseStableDiffusion3Pipeline, ScalewiseStableDiffusionXLPipeline
from swd.sampler import sample
from swd.schedule import ScaleSchedule

SCHEDULE = ScaleSchedule((8, 12), (1.0, 0.4, 0.0))
CALL: dict[str, Any] = {"schedule": SCHEDULE, "seeds": [1, 2], "output_type": "latent"}
PROMPTS = ["a red star", "two blue circles"]


@cache
def parts() -> dict[str, Any]:
    return tiny_pipelines.make("sdxl").components


@pytest.fixture
def pipe() -> ScalewiseStableDiffusionXLPipeline:
    made = ScalewiseStableDiffusionXLPipeline(**parts())
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save(tiny_pipelines.make("sdxl"), tmp_path_factory.mktemp("sdxl"))


def told(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Time ids of every row of every evaluation from now on."""
    seen: list[list[float]] = []
    predict = SDXLDenoiser.predict

    def spy(self: SDXLDenoiser, x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        seen.extend(cond.expand_to(len(x_t)).time_ids.tolist())
        return predict(self, x_t, sigma, cond)

    monkeypatch.setattr(SDXLDenoiser, "predict", spy)
    return seen


def test_the_published_call_draws(pipe: ScalewiseStableDiffusionXLPipeline) -> None:
    sigmas = [1.0, 0.4, 0.0]
    call = {"scales": [8, 12], "height": 24, "width": 24, "guidance_scale": 1.0, "output_type": "latent", "seeds": 1}
    found = pipe("a red star", timesteps=torch.tensor(sigmas) * 1000, **call).images
    expected = sample(pipe.denoiser(), SCHEDULE, pipe.encode_condition(["a red star"]).for_image(24, 24), [1])
    assert torch.equal(found, expected)


def test_every_step_is_told_the_size_of_the_finished_image(
    pipe: ScalewiseStableDiffusionXLPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = told(monkeypatch)
    pipe(PROMPTS, **CALL)
    pipe(PROMPTS, **CALL, height=20, width=30)
    assert seen == [[24, 24, 0, 0, 24, 24]] * 4 + [[20, 30, 0, 0, 20, 30]] * 4


def test_sizes_of_the_call_win(pipe: ScalewiseStableDiffusionXLPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, sizes = told(monkeypatch), {"original_size": (900, 800), "crops_coords_top_left": (7, 9)}
    pipe(PROMPTS[:1], **{**CALL, "seeds": 1}, **sizes, guidance_scale=3.0)
    assert seen == [[900, 800, 7, 9, 24, 24]] * 4  # negatives are told what the prompts are
    seen.clear()
    pipe(PROMPTS[:1], **{**CALL, "seeds": 1}, **sizes, guidance_scale=3.0, negative_original_size=(10, 20))
    assert seen == [[10, 20, 0, 0, 24, 24], [900, 800, 7, 9, 24, 24]] * 2


def test_guidance_is_away_from_zeros_or_a_negative_prompt_for_each_image(
    pipe: ScalewiseStableDiffusionXLPipeline,
) -> None:
    negatives = ["a blue cross", "two circles"]
    cond, uncond = (pipe.encode_condition(texts).for_image(24, 24) for texts in (PROMPTS, negatives))
    zeros = type(uncond)(uncond.prompt_embeds * 0, uncond.pooled * 0, uncond.time_ids)
    for negative, rows in ((None, zeros), (negatives, uncond)):
        found = pipe(PROMPTS, **CALL, negative_prompt=negative, guidance_scale=3.0).images
        steps: list[Tensor] = []
        pipe(
            PROMPTS,
            **CALL,
            guidance_scale=3.0,
            negative_prompt=negative,
            on_step=lambda step, x_t, x0, kept=steps: kept.append(x_t),
        )
        level = torch.full((2,), 0.4)
        with torch.no_grad():
            with_text, without = (pipe.denoiser()(steps[1], level, each) for each in (cond, rows))
        torch.testing.assert_close(found, without + 3.0 * (with_text - without), rtol=1e-4, atol=1e-4)


def test_the_second_text_encoder_may_read_another_prompt(pipe: ScalewiseStableDiffusionXLPipeline) -> None:
    embeds, _, pooled, _ = pipe.encode_prompt("a red star", "two circles", do_classifier_free_guidance=False)
    call = {**CALL, "seeds": 1}
    found = pipe("a red star", prompt_2="two circles", **call).images
    torch.testing.assert_close(found, pipe(prompt_embeds=embeds, pooled_prompt_embeds=pooled, **call).images)
    assert not torch.allclose(found, pipe("a red star", **call).images)


def test_decoding_is_float32_where_the_vae_asks_for_it(pipe: ScalewiseStableDiffusionXLPipeline) -> None:
    latents = pipe(PROMPTS, **CALL).images
    expected = pipe.decode(latents)
    made = ScalewiseStableDiffusionXLPipeline(**tiny_pipelines.make("sdxl").components)
    made.vae.to(torch.float16)
    found = made.decode(latents)
    assert made.vae.dtype == torch.float16
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)  # weights were rounded, arithmetic is not


def test_another_process_is_refused_before_anything_is_encoded(
    pipe: ScalewiseStableDiffusionXLPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(pipe), "encode_prompt", lambda *args, **kwargs: pytest.fail("encoded"))
    with pytest.raises(ValueError, match="a flow process, and the network's is variance-preserving"):
        pipe("a red star", schedule="sd35-4")
    other = ScalewiseStableDiffusion3Pipeline(**tiny_pipelines.make("sd35-medium").components)
    with pytest.raises(ValueError, match="a variance-preserving process, and the network's is flow"):
        other("a red star", schedule="sdxl-4")


def test_folders_of_other_classes_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"holds a StableDiffusionXLPipeline; ScalewiseStableDiffusion3Pipeline"):
        ScalewiseStableDiffusion3Pipeline.from_pretrained(folder)
    refiner = shutil.copytree(folder, tmp_path / "refiner")
    index = json.loads((refiner / "model_index.json").read_text())
    for name in ("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"):
        (refiner / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))
        with pytest.raises(PipelineError, match=f"no backbone serves pipelines of class {name}"):
            load_pipeline(str(refiner))
        with pytest.raises(PipelineError, match=f"holds a {name}; ScalewiseStableDiffusionXLPipeline takes Stable"):
            ScalewiseStableDiffusionXLPipeline.from_pretrained(refiner)


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"scheduler": DDPMScheduler(**BETAS, prediction_type="v_prediction")},
            "prediction_type v_prediction, .*eps",
        ),
        ({"scheduler": DDPMScheduler(**BETAS, rescale_betas_zero_snr=True)}, "rescale_betas_zero_snr True"),
        ({"scheduler": DDPMScheduler(**{**BETAS, "beta_end": 0.02})}, "beta_end 0.02"),
        ({"scheduler": EDMEulerScheduler()}, "EDMEulerScheduler says beta_schedule None"),
        ({"text_encoder": None, "tokenizer": None}, "no first text encoder: refiners"),
    ],
)
def test_models_that_work_otherwise_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        ScalewiseStableDiffusionXLPipeline(**{**parts(), **changes})
    ScalewiseStableDiffusionXLPipeline(**{**parts(), "scheduler": DDPMScheduler(**BETAS)})  # as published


def test_a_saved_folder_is_one_of_plain_diffusers(pipe: ScalewiseStableDiffusionXLPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    assert type(DiffusionPipeline.from_pretrained(tmp_path)) is StableDiffusionXLPipeline
    again = load_pipeline(str(tmp_path))
    assert type(again) is ScalewiseStableDiffusionXLPipeline
    assert again.config.force_zeros_for_empty_prompt == pipe.config.force_zeros_for_empty_prompt


def test_half_precision_variants_load(tmp_path: Path) -> None:
    saved = tiny_pipelines.save(tiny_pipelines.make("sdxl"), tmp_path, variant="fp16")
    loaded = load_pipeline(str(saved), variant="fp16", dtype=torch.bfloat16)
    assert loaded.unet.dtype == torch.bfloat16
    loaded.set_progress_bar_config(disable=True)
    images = loaded("a red star", **{**CALL, "seeds": 1}).images
    assert images.dtype == torch.float32
    assert torch.isfinite(images).all()
