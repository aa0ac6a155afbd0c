"""Arguments of the pipelines are what they say they are, in all families: refused in our words, or taken as given."""

import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pipelines import SCALEWISE, make

import swd
from swd.backbones.arguments import resolve_schedule, resolve_seeds
from swd.backbones.fast import FastOptions
from swd.sampler import seed_rngs

SHORT: dict[str, Any] = {"scales": (8, 16), "sigmas": (1.0, 0.5, 0.0), "seeds": 3, "output_type": "latent"}
LONG = "a " * 600


@pytest.fixture(scope="module", params=SCALEWISE)
def family(request: pytest.FixtureRequest) -> tuple[str, Any]:
    pipeline = SCALEWISE[request.param](**make(request.param).components)
    pipeline.set_progress_bar_config(disable=True)
    return request.param, pipeline


def draw(pipeline: Any, **options: Any) -> Any:
    given = {"prompt": "a red star", **SHORT, **options}
    images: Any = pipeline(**{name: value for name, value in given.items() if value is not None}).images
    return images


def test_over_long_negatives_are_refused_as_prompts_are(family: tuple[str, Any]) -> None:
    name, pipeline = family
    if name != "flux":  # which takes no negatives in a call
        with pytest.raises(ValueError, match=r"negative .* tokens.*truncate=True"):
            draw(pipeline, negative_prompt=LONG, guidance_scale=3.0)
        assert draw(pipeline, negative_prompt=LONG, truncate=True, guidance_scale=3.0).isfinite().all()
    with pytest.raises(ValueError, match=r"negative .* tokens.*truncate=True"):
        pipeline.encode_uncond(LONG)


def test_a_negative_of_one_encoder_has_to_fit_it(family: tuple[str, Any]) -> None:
    name, pipeline = family
    expected = "negative_prompt_2 has to be left out" if name == "flux" else r"negative prompt_2 has \d+ tokens"
    with pytest.raises((TypeError, ValueError), match=expected):
        draw(pipeline, negative_prompt_2=LONG, guidance_scale=3.0)


@pytest.mark.parametrize("wrong", [["a star", "a cross"], None, 5])
def test_one_condition_of_a_negative_takes_one_text(family: tuple[str, Any], wrong: Any) -> None:
    with pytest.raises(TypeError, match="negative_prompt must be one string"):
        family[1].encode_uncond(wrong)


@pytest.mark.parametrize("scale", [float("inf"), float("nan"), 1e30, -1])
def test_guidance_that_draws_nan_is_refused(family: tuple[str, Any], scale: float) -> None:
    with pytest.raises(ValueError, match="guidance_scale must be"):
        draw(family[1], guidance_scale=scale)


@pytest.mark.parametrize("wrong", [True, "3", [3.0]])
def test_guidance_is_a_number(family: tuple[str, Any], wrong: Any) -> None:
    with pytest.raises(TypeError, match="guidance_scale must be a number"):
        draw(family[1], guidance_scale=wrong)


def test_embeddings_of_another_width_or_with_nan_are_refused(family: tuple[str, Any]) -> None:
    pipeline = family[1]
    cond = pipeline.encode_condition(["a red star"]).tensors()
    fields = pipeline.embed_fields
    right = {argument: cond[field] for argument, field in fields.items() if field in cond}
    expected = draw(pipeline)
    torch.testing.assert_close(draw(pipeline, prompt=None, **right), expected, rtol=1e-4, atol=1e-5)
    for name, value in right.items():
        with pytest.raises(ValueError, match=f"{name} must be {value.shape[-1]} wide"):
            draw(pipeline, prompt=None, **{**right, name: value[..., :5]})
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            draw(pipeline, prompt=None, **{**right, name: value * float("nan")})
        with pytest.raises(TypeError, match=f"{name} must be a tensor"):
            draw(pipeline, prompt=None, **{**right, name: value.numpy()})


def test_latents_are_a_finite_tensor(family: tuple[str, Any]) -> None:
    channels = family[1]._plain_denoiser().latent_channels
    with pytest.raises(TypeError, match="latents must be a tensor"):
        draw(family[1], latents=5)
    with pytest.raises(ValueError, match="latents must be finite"):
        draw(family[1], latents=torch.full((1, channels, 8, 8), float("nan")))


def test_the_default_dtype_of_torch_changes_no_image(family: tuple[str, Any]) -> None:
    expected = draw(family[1])
    torch.set_default_dtype(torch.float64)
    try:
        found = draw(family[1])
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_write_that_spares_the_sampled_numbers_is_seen_after_a_refresh() -> None:
    pipeline = SCALEWISE["sd35-medium"](**make("sd35-medium").components)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.enable_fast(FastOptions(compile=False))
    before = draw(pipeline)
    words = pipeline.text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        (start,) = pipeline.tokenizer("a red star").input_ids[:1]
    words.data[start, 1:] *= 3.0  # a row of which 16 numbers of the whole hold nothing
    assert torch.equal(draw(pipeline), before)
    pipeline.refresh_fast()
    refreshed = draw(pipeline)
    pipeline.disable_fast()
    torch.testing.assert_close(refreshed, draw(pipeline), rtol=1e-4, atol=1e-4)
    assert (refreshed - before).abs().max() > 1e-3


@pytest.mark.parametrize("seed", [3, np.int64(3), torch.tensor(3)])
def test_integers_of_numpy_and_torch_are_seeds(seed: Any) -> None:
    assert resolve_seeds(seed, None, 2) == [3, 4]
    assert resolve_seeds([seed, seed], None, 2) == [3, 3]


def test_arrays_and_tensors_are_lists_of_seeds() -> None:
    assert resolve_seeds(np.array([3, 9]), None, 2) == [3, 9]  # type: ignore[arg-type]
    assert resolve_seeds(torch.tensor([3, 9]), None, 2) == [3, 9]  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [True, "3", 3.0, [3.5], torch.tensor(True)])
def test_what_is_no_integer_is_no_seed(wrong: Any) -> None:
    with pytest.raises(TypeError, match="seeds must be a whole number"):
        resolve_seeds(wrong, None, 1)


@pytest.mark.parametrize("seed", [2**63, 2**64, -1])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seeds must be from 0 to {2**63 - 1}"):
        resolve_seeds(seed, None, 1)
    with pytest.raises(ValueError, match="the last seed must be"):
        resolve_seeds(2**63 - 1, None, 2)


def test_seeds_above_32_bits_do_not_alias() -> None:
    drawn = [torch.randn(4, generator=rng) for rng in seed_rngs([3, 2**32 + 3, 2**40 + 3])]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    assert torch.equal(drawn[0], torch.randn(4, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("generator", [0, 5, [5], "3"])
def test_a_number_is_no_generator(generator: Any) -> None:
    with pytest.raises(TypeError, match="numbers are seeds="):
        resolve_seeds(None, generator, 1)


@pytest.mark.parametrize("schedule", [5, [4, 8], {}])
def test_a_schedule_is_one_or_the_name_of_one(schedule: Any) -> None:
    with pytest.raises(TypeError, match=r"name of a preset \(sd35-6, "):
        resolve_schedule(schedule)


@pytest.mark.parametrize(
    ("scales", "sigmas", "message"),
    [
        ([16.7, 32], [1.0, 0.5], "scales must be a whole number, got 16.7"),
        ("48", [1.0, 0.5], "scales must be a list"),
        (16, [1.0], "scales must be a list"),
        ([16], 1.0, "sigmas must be a list"),
        ([16, 32], ["1.0", "0.5"], "sigmas must be a number, got '1.0'"),
        ([16, 32], [True, 0.5], "sigmas must be a number, got True"),
    ],
)
def test_scales_and_sigmas_are_not_bent_until_they_fit(scales: Any, sigmas: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        resolve_schedule(None, scales, sigmas)


def test_without_a_schedule_the_presets_are_named(family: tuple[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no schedule: .*name of a preset \(sd35-6, "):
        draw(family[1], scales=None, sigmas=None)


@pytest.mark.parametrize("wrong", [5, {"scale": "a"}, {"scale": float("nan")}])
def test_the_scale_of_adapters_is_a_finite_number(family: tuple[str, Any], wrong: Any) -> None:
    name, pipeline = family
    argument = "cross_attention_kwargs" if name == "sdxl" else "joint_attention_kwargs"
    with pytest.raises((TypeError, ValueError), match=f"{argument}.* must be"):
        draw(pipeline, **{argument: wrong})


@pytest.mark.parametrize("wrong", [99, -1, "1"])
def test_layers_to_skip_are_as_many_as_there_are(family: tuple[str, Any], wrong: Any) -> None:
    name, pipeline = family
    if name == "flux":
        pytest.skip("FLUX skips no layers")
    with pytest.raises((TypeError, ValueError), match="clip_skip must be"):
        draw(pipeline, clip_skip=wrong)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**70),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.one_of(st.integers(-2, 40), st.floats(), st.text(max_size=2), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.just(object()),
    st.just(torch.ones(2, 2)),
)
NAMES = (
    *("prompt", "prompt_2", "negative_prompt", "height", "width", "schedule", "scales", "sigmas", "timesteps"),
    *("num_inference_steps", "guidance_scale", "num_images_per_prompt", "generator", "seeds", "latents"),
    *("max_sequence_length", "output_type", "prompt_embeds", "pooled_prompt_embeds", "clip_skip"),
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(name=st.sampled_from(NAMES), value=JUNK)
def test_whatever_an_argument_is_it_is_taken_or_refused_in_our_words(
    family: tuple[str, Any], name: str, value: Any
) -> None:
    if name == "num_images_per_prompt" and isinstance(value, int) and value > 2:
        return  # valid, and as much work as it says
    refusal: Exception | None = None
    try:
        images = draw(family[1], **{name: value})
    except (TypeError, ValueError) as error:
        refusal = error
    if refusal is None:
        assert name == "output_type" or images.isfinite().all(), value
        return
    *_, last = traceback.extract_tb(refusal.__traceback__)
    assert Path(last.filename).is_relative_to(Path(swd.__file__).parent), refusal
    assert (last.line or "").startswith("raise "), refusal
