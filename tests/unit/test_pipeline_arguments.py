"""Arguments of diffusers' pipelines: each means there what it means here."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_transformer
from diffusers import StableDiffusion3Pipeline
from fast_world import write_adapter
from tiny_pipelines import make

from swd.backbones.fast import FastOptions
from swd.backbones.lengths import resolve_length
from swd.lora.card import StudentCard
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import ScaleSchedule

SCHEDULE = ScaleSchedule((4, 6, 8), (1.0, 0.8, 0.5, 0.0))
SHORT: dict[str, Any] = {"schedule": SCHEDULE, "output_type": "latent", "seeds": 3}
TWO = ["a red star", "two blue circles"]


@pytest.fixture
def pipeline(tiny_pipeline: StableDiffusion3Pipeline) -> ScalewiseStableDiffusion3Pipeline:
    """Without T5, four zeros in its place."""
    pipeline = ScalewiseStableDiffusion3Pipeline(**tiny_pipeline.components, max_sequence_length=4)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def with_t5() -> ScalewiseStableDiffusion3Pipeline:
    pipeline = ScalewiseStableDiffusion3Pipeline(**make("sd35-medium").components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: ScalewiseStableDiffusion3Pipeline, *args: Any, **changes: Any) -> torch.Tensor:
    return pipeline(*args, **{**SHORT, **changes}).images


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_every_prompt_has_its_negative(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    negatives = ["a cross", "a square"]
    together = draw(pipeline, TWO, negative_prompt=negatives, guidance_scale=4.0)
    for place, (prompt, negative) in enumerate(zip(TWO, negatives, strict=True)):
        alone = draw(pipeline, prompt, negative_prompt=negative, guidance_scale=4.0, seeds=3 + place)
        assert_same(together[place : place + 1], alone)
    swapped = draw(pipeline, TWO, negative_prompt=negatives[::-1], guidance_scale=4.0)
    assert (swapped - together).abs().max() > 1e-3


def test_every_image_may_have_its_negative(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    negatives = ["a cross", "a square", "a star", "a cross"]
    four = draw(pipeline, TWO, negative_prompt=negatives, num_images_per_prompt=2, guidance_scale=4.0)
    for place, negative in enumerate(negatives):
        alone = draw(pipeline, TWO[place // 2], negative_prompt=negative, guidance_scale=4.0, seeds=3 + place)
        assert_same(four[place : place + 1], alone)
    per_prompt = draw(pipeline, TWO, negative_prompt=negatives[:2], num_images_per_prompt=2, guidance_scale=4.0)
    spread = [negatives[0]] * 2 + [negatives[1]] * 2
    assert_same(per_prompt, draw(pipeline, TWO, negative_prompt=spread, num_images_per_prompt=2, guidance_scale=4.0))


def test_embeddings_stand_in_for_negatives(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    negatives = ["a cross", "a square"]
    cond = pipeline.encode_condition(negatives)
    embeds = {"negative_prompt_embeds": cond.prompt_embeds, "negative_pooled_prompt_embeds": cond.pooled}
    expected = draw(pipeline, TWO, negative_prompt=negatives, guidance_scale=4.0)
    assert_same(draw(pipeline, TWO, guidance_scale=4.0, **embeds), expected)


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ({"prompt_2": "two blue circles"}, {}),
        ({"prompt_3": "a cross"}, {}),
        ({"prompt_2": "a square", "prompt_3": "a cross"}, {"clip_skip": 1}),
        ({}, {"clip_skip": 1}),
    ],
)
def test_texts_reach_the_encoders_as_in_diffusers(
    with_t5: ScalewiseStableDiffusion3Pipeline, texts: dict[str, str], options: dict[str, int]
) -> None:
    theirs = with_t5.encode_prompt(
        **{"prompt": "a red star", "prompt_2": None, "prompt_3": None, **texts},
        negative_prompt="a cross",
        negative_prompt_2="a square",
        max_sequence_length=16,
        **options,
    )
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    more = {"guidance_scale": 3.0, "max_sequence_length": 16}
    expected = draw(with_t5, **dict(zip(names, theirs, strict=True)), **more)
    negatives = {"negative_prompt": "a cross", "negative_prompt_2": "a square"}
    found = draw(with_t5, "a red star", **texts, **negatives, **options, **more)
    assert_same(found, expected)
    assert (draw(with_t5, "a red star", **negatives, **more) - expected).abs().max() > 1e-4


def test_texts_of_their_own_are_kept_apart_in_a_batch_and_in_the_cache(
    with_t5: ScalewiseStableDiffusion3Pipeline,
) -> None:
    others = ["a cross", "a square"]
    alone = [
        draw(with_t5, "a star", prompt_3=other, max_sequence_length=12, seeds=3 + place)
        for place, other in enumerate(others)
    ]
    with_t5.enable_fast(FastOptions(compile=False))
    try:
        for _ in range(2):
            together = draw(with_t5, ["a star", "a star"], prompt_3=others, max_sequence_length=12)
            assert_same(together, torch.cat(alone))
        skipped = draw(with_t5, "a star", prompt_3=others[0], max_sequence_length=12, clip_skip=1)
        assert (skipped - alone[0]).abs().max() > 1e-4
    finally:
        with_t5.disable_fast()


def test_the_callers_noise_is_where_sampling_starts(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    (rng,) = [torch.Generator().manual_seed(3)]
    noise = torch.randn(4, 4, 4, generator=rng)[None]
    assert_same(draw(pipeline, "a star", latents=noise), draw(pipeline, "a star"))
    assert (draw(pipeline, "a star", latents=-noise) - draw(pipeline, "a star")).abs().max() > 1e-3


def test_the_adapters_scale_counts(pipeline: ScalewiseStableDiffusion3Pipeline, tmp_path: Path) -> None:
    teacher = draw(pipeline, "a star")
    pipeline.load_lora_weights(write_adapter(make_transformer(), tmp_path), adapter_name="student")
    whole, half, none = (draw(pipeline, "a star", joint_attention_kwargs={"scale": scale}) for scale in (1.0, 0.5, 0.0))
    assert_same(none, teacher)
    assert_same(whole, draw(pipeline, "a star"))
    pipeline.set_adapters(["student"], adapter_weights=0.5)
    assert_same(half, draw(pipeline, "a star"))
    pipeline.enable_fast(FastOptions(compile=False))
    with pytest.raises(ValueError, match=r"joint_attention_kwargs do not reach the fast path; call disable_fast\(\)"):
        draw(pipeline, "a star", joint_attention_kwargs={"scale": 0.5})


CARD = StudentCard(scales=(4, 6), sigmas=(1.0, 0.6, 0.0), token_length=6, guidance_scale=3.0)


def test_a_student_that_describes_itself_needs_no_arguments(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    bare: dict[str, Any] = {"seeds": 3, "output_type": "latent"}
    six = ScalewiseStableDiffusion3Pipeline(**pipeline.components, max_sequence_length=6)
    six.set_progress_bar_config(disable=True)
    scales_and_sigmas = {"scales": [4, 6], "sigmas": [1.0, 0.6]}
    told = six("a star", **scales_and_sigmas, guidance_scale=3.0, **bare).images
    plain = six("a star", **scales_and_sigmas, **bare).images
    longer = six("a star", schedule=SCHEDULE, guidance_scale=3.0, **bare).images

    pipeline.student = CARD
    assert torch.equal(pipeline("a star", **bare).images, told)
    assert torch.equal(pipeline("a star", guidance_scale=0.0, **bare).images, plain)
    assert torch.equal(pipeline("a star", schedule=SCHEDULE, **bare).images, longer)
    assert pipeline.encode_condition(["a star"]).prompt_embeds.shape[1] == 12 + 6
    pipeline.student = None  # other tests share the network


def test_the_length_of_t5_comes_from_one_place(
    pipeline: ScalewiseStableDiffusion3Pipeline, with_t5: ScalewiseStableDiffusion3Pipeline
) -> None:
    lengths = [resolve_length(one, None) for one in (pipeline, with_t5)]
    assert lengths == [4, 512]
    zeros = ScalewiseStableDiffusion3Pipeline(**pipeline.components)
    assert resolve_length(zeros, None) == 512  # in the place of a T5 that is not there
    assert resolve_length(pipeline, 0) == 0
    assert resolve_length(pipeline, 4) == 4  # the folder says so itself
    assert resolve_length(with_t5, 77) == 77
    with_t5.student = StudentCard(token_length=128)
    assert resolve_length(with_t5, None) == 128
    with_t5.student = None


@pytest.mark.parametrize("asked", [-1, 2.5, True, "8"])
def test_no_number_of_tokens(with_t5: ScalewiseStableDiffusion3Pipeline, asked: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"max_sequence_length (is a number|must be a whole).*{asked}"):
        draw(with_t5, "a star", max_sequence_length=asked)


def test_more_tokens_than_t5_takes(with_t5: ScalewiseStableDiffusion3Pipeline) -> None:
    with pytest.raises(ValueError, match="T5 takes up to 512 tokens, got max_sequence_length=513"):
        draw(with_t5, "a star", max_sequence_length=513)


def test_tokens_of_a_t5_that_is_not_there(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    with pytest.raises(ValueError, match=r"max_sequence_length=512 asks for tokens of T5 \(text_encoder_3\).*4 zeros"):
        draw(pipeline, "a star", max_sequence_length=512)
    with pytest.raises(ValueError, match="prompt_3 is for text_encoder_3, which this pipeline does not have"):
        draw(pipeline, "a star", prompt_3="a cross")


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"prompt": None}, ValueError, "at least one prompt is needed, got prompt=None"),
    ({"prompt": b"a star"}, TypeError, r"prompt must be a string or a list of strings, got b'a star' \(bytes\)"),
    ({"prompt": 7}, TypeError, r"prompt must be .* got 7 \(int\)"),
    ({"prompt": ["a star", None]}, TypeError, r"prompt must be .* got None \(NoneType\)"),
    ({"prompt": ["a star", b"a"]}, TypeError, r"got b'a' \(bytes\)"),
    ({"prompt": ["a star", 0.5]}, TypeError, r"got 0.5 \(float\)"),
    ({"prompt_2": ["a star", "a cross"]}, ValueError, "prompt_2 has 2 texts for 1 prompts"),
    ({"negative_prompt": ["a", "a"], "guidance_scale": 2.0}, ValueError, "one for each of 1 prompts, got 2"),
    (
        {"negative_prompt": [], "guidance_scale": 2.0},
        ValueError,
        r"needed, got negative_prompt=\[\]",
    ),
    ({"negative_prompt": 3, "guidance_scale": 2.0}, TypeError, r"negative_prompt must be .* got 3 \(int\)"),
    ({"negative_prompt": "a cross"}, ValueError, r"guidance_scale is above 1, it is 1\.0; leave them out"),
    ({"negative_prompt_embeds": torch.zeros(1, 16, 32)}, ValueError, "negative_prompt, or both"),
    ({"latents": torch.zeros(1, 4, 8, 8)}, ValueError, r"first step, \(1, 4, 4, 4\), got \(1, 4, 8, 8\)"),
    ({"num_inference_steps": 28}, ValueError, "num_inference_steps=28 does not agree .* 3 steps"),
    ({"callback_on_step_end_tensor_inputs": ["velocity"]}, ValueError, "callbacks see latents, .* not velocity"),
    ({"ip_adapter_image": torch.zeros(1)}, TypeError, "does not take ip_adapter_image="),
    ({"num_inference_step": 3}, TypeError, "nearest arguments: num_inference_steps"),
    ({"height": 16.0, "width": 16}, TypeError, r"height must be a whole number, got 16\.0"),
    ({"height": -16, "width": 16}, ValueError, "got -16 x 16; the nearest size is 4 x 16"),
    ({"height": 68, "width": 16}, ValueError, "up to 64, got 68 x 16; the nearest size is 64 x 16"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), BAD)
def test_bad_arguments_are_refused_before_any_network_runs(
    pipeline: ScalewiseStableDiffusion3Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        monkeypatch.setattr(module, "forward", lambda *args, **kwargs: pytest.fail("ran"))
    with pytest.raises(kind, match=message):
        draw(pipeline, **{"prompt": "a star", **changes})


def test_arguments_that_agree_or_say_nothing_are_taken(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    said = {"num_inference_steps": 3, "ip_adapter_image": None, "mu": None, "num_images_per_prompt": None}
    assert torch.equal(draw(pipeline, "a star", None, None, 16, 16, **said), draw(pipeline, "a star"))


@pytest.mark.parametrize(("height", "width"), [(16, 40), (36, 20), (64, 4)])
def test_images_have_the_size_asked_for(pipeline: ScalewiseStableDiffusion3Pipeline, height: int, width: int) -> None:
    images = draw(pipeline, "a star", height=height, width=width, output_type="np")
    assert images.shape == (1, height, width, 3)


def test_the_first_scales_square_stands_for_the_default(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    assert torch.equal(draw(pipeline, "a star", height=8, width=8), draw(pipeline, "a star"))
    assert draw(pipeline, "a star", height=8, width=12).shape == (1, 4, 4, 6)
