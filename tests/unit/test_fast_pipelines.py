"""``enable_fast`` of every pipeline: the same images, whatever is done to the pipeline before and after."""

from typing import Any

import pytest
import tiny_pipelines
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from fast_world import assert_same
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from swd.backbones.fast import FastOptions
from swd.backbones.lean import FastDenoiser
from swd.pipelines import (
    ScalewiseFluxPipeline,
    ScalewiseStableDiffusion3Pipeline,
    ScalewiseStableDiffusionXLPipeline,
)

PIPELINES = {
    "sd35-medium": ScalewiseStableDiffusion3Pipeline,
    "sd35-large": ScalewiseStableDiffusion3Pipeline,
    "sdxl": ScalewiseStableDiffusionXLPipeline,
    "flux": ScalewiseFluxPipeline,
}
LENGTH = {"max_sequence_length": 8}


@pytest.fixture(params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Any:
    pipeline = PIPELINES[request.param](**tiny_pipelines.make(request.param).components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, **changes: Any) -> Tensor:
    length = {} if isinstance(pipeline, ScalewiseStableDiffusionXLPipeline) else LENGTH
    call = {"scales": [8, 12, 16], "sigmas": [1.0, 0.8, 0.5], "seeds": [3, 8], "output_type": "latent"}
    latents: Tensor = pipeline(["a red star", "two"], **call, **length, **changes).images
    return latents


def adapt(pipeline: Any) -> PeftModel:
    """PEFT's wrapper with a random adapter, as ``PeftModel.from_pretrained`` leaves it."""
    name = pipeline.backbone.component
    config = LoraConfig(r=2, lora_alpha=4, target_modules=list(pipeline.backbone.lora_targets))
    wrapped = get_peft_model(getattr(pipeline, name), config).eval()
    rng = torch.Generator().manual_seed(1)
    for key, weight in wrapped.named_parameters():
        if "lora_" in key:
            weight.data.copy_(0.1 * torch.randn(weight.shape, generator=rng))
    setattr(pipeline, name, wrapped)
    return wrapped


def test_images_are_the_same(pipeline: Any) -> None:
    wide = {"height": 24, "width": 40}  # pixels, two a latent
    expected, other = draw(pipeline), draw(pipeline, **wide)
    pipeline.enable_fast()
    assert isinstance(pipeline.denoiser(), FastDenoiser)
    for _ in range(2):  # the second call has the prompts at hand
        assert_same(draw(pipeline), expected)
    assert_same(draw(pipeline, **wide), other)


def test_peft_wrapped_networks_are_fast_too(pipeline: Any) -> None:
    before = draw(pipeline)
    wrapped = adapt(pipeline)
    expected = draw(pipeline)
    assert (expected - before).abs().max() > 1e-3
    for options in (FastOptions(), FastOptions(merge_lora=False)):
        pipeline.enable_fast(options)
        assert_same(draw(pipeline), expected)
    built = pipeline._fast
    draw(pipeline)
    assert pipeline._fast is built
    with wrapped.disable_adapter():
        assert_same(draw(pipeline), before)
    assert_same(draw(pipeline), expected)


def test_offloading_is_refused(pipeline: Any) -> None:
    pipeline.enable_fast()
    add_hook_to_module(pipeline.backbone.network(pipeline), ModelHook())
    with pytest.raises(ValueError, match=r"offloading or other hooks .* found on 1 modules .*first: itself"):
        draw(pipeline)
    pipeline.disable_fast()
    draw(pipeline)


def test_image_prompts_are_refused() -> None:
    pipeline = ScalewiseStableDiffusionXLPipeline(**tiny_pipelines.make("sdxl").components)
    pipeline.unet.encoder_hid_proj = torch.nn.Identity()
    with pytest.raises(ValueError, match="cannot run with image prompts"):
        pipeline.enable_fast()
