import copy

import numpy as np
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from diffusers import StableDiffusion3Pipeline

from swd.backbones.sd3.backbone import BACKBONE
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import ScaleSchedule

SCALES, SIGMAS = [4, 6, 8], [1.0, 0.8, 0.5, 0.0]
SHORT = {"scales": SCALES, "sigmas": SIGMAS, "output_type": "latent"}


@pytest.fixture
def pipeline(tiny_pipeline: StableDiffusion3Pipeline) -> ScalewiseStableDiffusion3Pipeline:
    pipeline = ScalewiseStableDiffusion3Pipeline(**tiny_pipeline.components, max_sequence_length=4)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_published_snippet_runs(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    sigmas = torch.tensor(SIGMAS)
    images = pipeline(
        "a red star",
        sigmas=sigmas,
        timesteps=sigmas[:-1] * 1000,
        scales=SCALES,
        guidance_scale=0.0,
        height=SCALES[0] * pipeline.vae_scale_factor,
        width=SCALES[0] * pipeline.vae_scale_factor,
        generator=torch.Generator().manual_seed(0),
    ).images
    assert len(images) == 1
    assert images[0].size == (16, 16)


def test_ways_to_give_schedule_and_seeds_agree(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    prompts = ["a red star", "two blue circles"]
    expected = pipeline(prompts, seeds=[4, 5], **SHORT).images
    variants = [
        pipeline(prompts, seeds=4, **SHORT),
        pipeline(prompts, seeds=4, guidance_scale=0.0, **SHORT),
        pipeline(prompts, generator=[torch.Generator().manual_seed(seed) for seed in (4, 5)], **SHORT),
        pipeline(prompts, seeds=4, **{**SHORT, "sigmas": SIGMAS[:-1]}),
        pipeline(
            prompts,
            seeds=4,
            schedule=ScaleSchedule(tuple(SCALES), tuple(SIGMAS)),
            output_type="latent",
        ),
    ]
    assert all(torch.equal(variant.images, expected) for variant in variants)


def test_preset_by_name_and_output_types(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    options = {"schedule": "mini-4", "seeds": 0}
    (array,) = pipeline("a red star", output_type="np", return_dict=False, **options)
    tensor = pipeline("a red star", output_type="pt", **options).images
    (picture,) = pipeline("a red star", **options).images
    assert array.shape == (1, 64, 64, 3)
    np.testing.assert_allclose(tensor.permute(0, 2, 3, 1), array, atol=1e-6)
    np.testing.assert_allclose(np.asarray(picture) / 255, array[0], atol=0.5 / 255 + 1e-6)


def test_each_distinct_prompt_is_encoded_once(
    pipeline: ScalewiseStableDiffusion3Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = pipeline.encode_prompt

    def counting(prompt: list[str], *args: object, **kwargs: object) -> object:
        encoded.extend(prompt)
        return encode(prompt, *args, **kwargs)

    monkeypatch.setattr(pipeline, "encode_prompt", counting)
    prompts = ["a red star", "a blue cross", "a red star"]
    latents = pipeline(prompts, seeds=[1, 1, 1, 1, 1, 1], num_images_per_prompt=2, **SHORT).images
    assert encoded == ["a red star", "a blue cross"]
    torch.testing.assert_close(latents[0], latents[1])
    torch.testing.assert_close(latents[0], latents[4])
    assert (latents[0] - latents[2]).abs().max() > 1e-4


def test_embeddings_stand_in_for_prompts(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    cond = pipeline.encode_condition(["a red star"])
    by_embeds = pipeline(prompt_embeds=cond.prompt_embeds, pooled_prompt_embeds=cond.pooled, seeds=0, **SHORT).images
    torch.testing.assert_close(by_embeds, pipeline("a red star", seeds=0, **SHORT).images)


def test_guidance_moves_away_from_the_negative_prompt(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    plain = pipeline("a red star", seeds=0, **SHORT).images
    guided = pipeline("a red star", seeds=0, guidance_scale=5.0, **SHORT).images
    neutral = pipeline("a red star", seeds=0, guidance_scale=5.0, negative_prompt="a red star", **SHORT).images
    torch.testing.assert_close(neutral, plain, rtol=0, atol=1e-4)
    assert (guided - plain).abs().max() > 1e-3


def test_fresh_seeds_differ(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    first, second = (pipeline("a red star", **SHORT).images for _ in range(2))
    assert not torch.equal(first, second)


def test_non_square_images(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    images = pipeline(
        "a star", scales=[8, 16], sigmas=[1, 0.5, 0], height=16, width=64, seeds=0, output_type="np"
    ).images
    assert images.shape == (1, 16, 64, 3)


def test_fits_where_only_t5_reads_all(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    long = "a red star " * 5
    tall = copy.copy(pipeline.tokenizer)
    pipeline.text_encoder_3, pipeline.tokenizer_3 = torch.nn.Identity(), tall
    BACKBONE.check_prompts(pipeline, [long], 256)


LONG = "a red star left of two blue circles " * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, "prompts must not be empty, got ''"),
        ({"prompt": ["a red star", "  "]}, "prompts must not be empty"),
        ({"prompt": []}, "at least one prompt"),
        ({"prompt": None}, "at least one prompt"),
        ({"prompt": LONG}, r"prompt has \d\d tokens, the text encoders take 12"),
        ({"prompt": ["a red star", f"{LONG} cross"]}, r"prompt has \d\d tokens, .*: 'a red star left of two"),
        ({"scales": [8, 6, 8]}, "must not shrink"),
        ({"scales": [4, 6, 7]}, r"patch size 2, got \[7\]"),
        ({"scales": [4, 6, 34]}, "largest latent side 32, got .* a last latent of 34 x 34"),
        ({"scales": [4, 8]}, "2 scales need 3 sigmas, got 4"),
        ({"sigmas": [1.0, 0.5, 0.6, 0.0]}, "fall strictly"),
        ({"sigmas": None}, "go together"),
        ({"sigmas": None, "scales": None}, "no schedule: load a student that describes itself"),
        ({"schedule": "mini-4"}, "not both"),
        ({"schedule": "mini-5", "scales": None, "sigmas": None}, "no preset 'mini-5'; nearest: mini-"),
        ({"timesteps": [1000, 700, 500]}, "timesteps must be 1000 sigma"),
        ({"timesteps": [1000]}, "timesteps must be 1000 sigma"),
        ({"seeds": [1, 2]}, "1 images need 1 seeds, got 2"),
        ({"generator": torch.Generator()}, "either seeds or generator"),
        ({"height": 16}, "go together, got height=16 and width=None"),
        ({"height": 18, "width": 26}, "multiples of 4 up to 64, got 18 x 26; the nearest size is 16 x 24"),
        ({"height": 0, "width": 16}, "must be positive .* nearest size is 4 x 16"),
        ({"output_type": "jpg"}, "output_type must be one of pil, np, pt, latent, got 'jpg'"),
        ({"num_images_per_prompt": 0}, "at least 1, got 0"),
        ({"prompt_embeds": torch.zeros(1, 4, 32)}, "give either prompt, or both"),
    ],
)
def test_bad_calls_are_refused_before_any_network_runs(
    pipeline: ScalewiseStableDiffusion3Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    message: str,
) -> None:
    for module in (pipeline.transformer, pipeline.vae):
        monkeypatch.setattr(module, "forward", lambda *args, **kwargs: pytest.fail("ran"))
    with pytest.raises(ValueError, match=message):
        pipeline(**{"prompt": "a red star", "seeds": 0, **SHORT, **options})


def test_long_prompts_are_cut_on_request(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    assert pipeline(LONG, seeds=0, truncate=True, **SHORT).images.shape == (1, 4, 8, 8)


def test_device_of_offloaded_parts_is_that_of_their_hooks(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    theirs = StableDiffusion3Pipeline._execution_device.fget
    assert pipeline._execution_device == theirs(pipeline) == torch.device("cpu")
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for part in (pipeline.transformer.transformer_blocks[-1], *parts):  # a layer alone is none of diffusers' business
        add_hook_to_module(part, AlignDevicesHook(execution_device="meta"))
        assert pipeline._execution_device == theirs(pipeline)
    assert pipeline._execution_device == torch.device("meta")
