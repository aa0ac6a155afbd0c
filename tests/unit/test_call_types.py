"""Every argument of a call is of its type, in all families: the message names it, in one line, before any work."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipelines import SCALEWISE, make

from swd.backbones.fast import FastOptions

SHORT: dict[str, Any] = {"scales": (8, 16), "sigmas": (1.0, 0.5, 0.0), "seeds": 3, "output_type": "latent"}
LONG = "a " * 600
MATRIX = torch.ones(2, 2)
WRONG: dict[str, tuple[Any, ...]] = {
    "truncate": (1, 0, None, "yes", "", [], MATRIX, np.ones(2)),
    "return_dict": (1, 0, None, "yes", "", [], MATRIX, np.ones(2)),
    "on_step": (1, 0, False, "x", "", [], MATRIX),
    "callback_on_step_end": (1, 0, False, "x", "", [], MATRIX),
    "callback_on_step_end_tensor_inputs": (
        None,
        5,
        "latents",
        "",
        {"latents"},
        [["a"]],
        iter(()),
    ),
    "scales": ({8, 16}, {8: 1, 16: 1}, torch.ones(1, 2, 3)),
    "sigmas": ({0.0, 0.5, 1.0}, {1.0: 0}, torch.ones(1, 2, 3)),
    "seeds": ({3}, {3: 1}, torch.ones(1, 2, 3), object()),
    "height": (16.0, "16", True),
    "max_sequence_length": (2.5, "8", True, MATRIX),
    "latents": (torch.ones(1, 4, 8, 8, dtype=torch.int64), torch.ones(1, 4, 8, 8, dtype=torch.complex64), 5),
    "guidance_scale": (torch.ones(1, 4, 64, 64), "3"),
    "prompt": (3, [None], torch.ones(1, 4, 64, 64), b"a star", {"a": 1}, "\ud800", ["a", "b\udfff"]),
}
SIZES: tuple[Any, ...] = (
    5,
    0,
    "",
    "ab",
    {},
    set(),
    [],
    [1],
    [1, 2, 3],
    [1.0, 2.0],
    [True, True],
    [-1, 5],
    np.ones(2),
    MATRIX,
    object(),
)


@pytest.fixture(scope="module", params=SCALEWISE)
def family(request: pytest.FixtureRequest) -> tuple[str, Any]:
    pipeline = SCALEWISE[request.param](**make(request.param).components)
    pipeline.set_progress_bar_config(disable=True)
    return request.param, pipeline


def draw(pipeline: Any, **options: Any) -> Any:
    return pipeline(**{"prompt": "a red star", **SHORT, **options}).images


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_of_another_type_is_named(family: tuple[str, Any], name: str) -> None:
    options: dict[str, Any] = {"width": 16} if name == "height" else {}
    for value in WRONG[name]:
        with pytest.raises((TypeError, ValueError), match=rf"\b{name} (must|holds half)") as caught:
            draw(family[1], **{**options, name: value})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_tensors_of_other_kinds_are_no_embeddings(family: tuple[str, Any]) -> None:
    pipeline = family[1]
    cond = pipeline.encode_condition(["a red star"]).tensors()
    right = {argument: cond[field] for argument, field in pipeline.embed_fields.items() if field in cond}
    for name, value in right.items():
        for wrong in (value.long(), value > 0, value.to(torch.complex64), value.to_sparse()):
            with pytest.raises(TypeError, match=f"^{name} must be a dense tensor of floating-point numbers"):
                draw(pipeline, prompt=None, **{**right, name: wrong})
        for empty in (value.to("meta"), value[:0]):
            with pytest.raises(ValueError, match=f"^{name} holds no numbers, got shape"):
                draw(pipeline, prompt=None, **{**right, name: empty})


def test_integers_of_numpy_and_torch_are_sizes_and_lengths(family: tuple[str, Any]) -> None:
    name, pipeline = family
    expected = draw(pipeline, height=32, width=16)
    torch.testing.assert_close(draw(pipeline, height=np.int64(32), width=torch.tensor(16)), expected)
    if name != "sdxl":
        eight = draw(pipeline, max_sequence_length=8)
        torch.testing.assert_close(draw(pipeline, max_sequence_length=np.int64(8)), eight)


def test_the_prompt_that_is_too_long_is_numbered(family: tuple[str, Any]) -> None:
    name, pipeline = family
    said = r"tokens, .* takes? \d+; shorten it, or pass truncate=True"
    with pytest.raises(ValueError, match=rf"^prompt has \d+ {said}"):
        draw(pipeline, prompt=LONG)
    for prompts, number in ((["a", LONG, "b"], 1), (["a", "b", LONG, LONG], 2)):
        with pytest.raises(ValueError, match=rf"^prompt\[{number}\]: prompt has \d+ {said}"):
            draw(pipeline, prompt=prompts)
        with pytest.raises(ValueError, match=rf"^prompt\[{number}\]: prompt has \d+ {said}"):
            pipeline.encode_condition(prompts)
    with pytest.raises(ValueError, match=r"^prompt\[1\]: prompts must not be empty, got ' '"):
        draw(pipeline, prompt=["a", " "])
    with pytest.raises(ValueError, match=rf"^prompt\[2\]: prompt_2 has \d+ {said}"):
        draw(pipeline, prompt=["a", "b", "c"], prompt_2=["a", "a", LONG])
    if name != "flux":
        wrong = {"negative_prompt": ["", "a", LONG], "num_images_per_prompt": 2, "guidance_scale": 3.0}
        with pytest.raises(ValueError, match=rf"^negative prompt\[2\]: prompt has \d+ {said}"):
            draw(pipeline, prompt=["a", "b", "c"], **wrong)


def test_sizes_that_sdxl_is_told_are_two_whole_numbers() -> None:
    pipeline = SCALEWISE["sdxl"](**make("sdxl").components)
    pipeline.set_progress_bar_config(disable=True)
    told = {"original_size": (32, 32), "target_size": np.array([32, 16]), "crops_coords_top_left": [0, np.int64(4)]}
    plain = {"original_size": (32, 32), "target_size": (32, 16), "crops_coords_top_left": (0, 4)}
    torch.testing.assert_close(draw(pipeline, **told), draw(pipeline, **plain))
    for prefix in ("", "negative_"):
        for size in ("original_size", "target_size", "crops_coords_top_left"):
            for value in (*SIZES, [0, 5]) if "size" in size else SIZES:
                with pytest.raises((TypeError, ValueError), match=f"^{prefix}{size} must be"):
                    draw(pipeline, guidance_scale=3.0, **{f"{prefix}{size}": value})


def test_encoding_takes_what_it_says(family: tuple[str, Any]) -> None:
    pipeline = family[1]
    for size in (0, -1, 2.5, "8", None, True):
        with pytest.raises((TypeError, ValueError), match=r"^batch_size must be"):
            pipeline.encode_condition(["a star"], batch_size=size)
    for wrong in (1, None, "yes"):
        with pytest.raises(TypeError, match=r"^truncate must be True or False"):
            pipeline.encode_condition(["a star"], truncate=wrong)
        with pytest.raises(TypeError, match=r"^truncate must be True or False"):
            pipeline.encode_uncond("a star", truncate=wrong)
    with pytest.raises(ValueError, match=r"^negative_prompt holds half a character"):
        pipeline.encode_uncond("\ud800")
    with pytest.raises(ValueError, match=r"^prompt holds half a character"):
        pipeline.encode_condition(["a star", "\ud800"])


def test_diffusers_own_encoding_is_told_in_our_words(family: tuple[str, Any]) -> None:
    name, pipeline = family
    others = {text: None for text in pipeline.text_names[1:]}
    wrong: dict[str, tuple[Any, ...]] = {
        "prompt": (3, [3], b"a", "\ud800"),
        "prompt_2": (3, [3], ["a", "b"]),
        "num_images_per_prompt": (0, -1, 1.5, "1", None),
        "lora_scale": ("1", float("nan"), [1.0]),
        "prompt_embeds": (5, torch.ones(1, 4, 8, dtype=torch.int64)),
    }
    if name != "sdxl":
        wrong["max_sequence_length"] = (10**6, -1, 2.5, "8")
    if name != "flux":
        wrong["negative_prompt"] = (3, [3], ["a", "b"])
        wrong["clip_skip"] = (-1, 99, "1")
        wrong["do_classifier_free_guidance"] = (1, 0.0, "yes")
    for argument, values in wrong.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=rf"^(negative )?{argument}\b (must|has|holds)"):
                pipeline.encode_prompt(**{"prompt": "a star", **others, argument: value})
    with pytest.raises(ValueError, match=r"^encode_prompt needs a prompt or prompt_embeds, got prompt=None"):
        pipeline.encode_prompt(None, **others)
    with pytest.raises(TypeError, match=r"^encode_prompt: .*banana"):
        pipeline.encode_prompt("a star", banana=3, **others)
    if name != "sdxl":
        pooled = pipeline.encode_prompt("a star", **others)[-1 if name == "sd35-medium" else 1]
        assert pooled is None or pooled.isfinite().all()


@pytest.mark.parametrize("wrong", [5, 0, "", {}, [], MATRIX, FastOptions])
def test_fast_options_are_ours(family: tuple[str, Any], wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^options must be FastOptions, got"):
        family[1].enable_fast(wrong)


@pytest.mark.parametrize("wrong", [1, None, "yes", MATRIX])
def test_switches_of_the_fast_path_are_true_or_false(wrong: Any) -> None:
    for name in ("merge_lora", "modulation", "text", "positions", "fused_norm", "channels_last"):
        with pytest.raises(TypeError, match=f"^{name} must be True or False, got"):
            FastOptions(**{name: wrong})
    for name in ("compile_mode", "shapes", "attention"):
        with pytest.raises(ValueError, match=f"^{name} must be one of"):
            FastOptions(**{name: wrong})
    if not isinstance(wrong, int):
        with pytest.raises(TypeError, match=r"^prompt_cache must be a whole number"):
            FastOptions(prompt_cache=wrong)


def test_only_latents_are_decoded(family: tuple[str, Any]) -> None:
    pipeline = family[1]
    channels = pipeline._plain_denoiser().latent_channels
    right = torch.zeros(1, channels, 4, 4)
    assert pipeline.decode(right).shape[1] == 3
    for wrong in (5, None, "x", right.numpy(), right.long(), right[0], right[:, :3], right.to("meta"), right[:0]):
        with pytest.raises((TypeError, ValueError), match=r"^x0 (must be|holds no numbers)"):
            pipeline.decode(wrong)
    for kind in ("jpeg", None, 5):
        with pytest.raises(ValueError, match=r"^output_type must be one of pil, np, pt"):
            pipeline.decode(right, output_type=kind)


BROKEN: tuple[Any, ...] = (5, "x", True, [1], {"latents": 5}, {"latents": torch.ones(2, 2)})


@pytest.mark.parametrize("returned", [*BROKEN, {"prompt_embeds": 5}, {"prompt_embeds": torch.ones(1, 2, 3)}])
def test_what_a_callback_returns_is_tensors_as_it_got_them(family: tuple[str, Any], returned: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"a callback (must|return)"):
        draw(family[1], callback_on_step_end=lambda *given: returned)


@pytest.mark.parametrize("scale", ["x", None, float("nan"), -1, 1e9])
def test_the_guidance_that_a_callback_sets_is_a_guidance(family: tuple[str, Any], scale: Any) -> None:
    def change(pipeline: Any, *given: Any) -> None:
        pipeline._guidance_scale = scale

    with pytest.raises((TypeError, ValueError), match=r"^guidance_scale must be"):
        draw(family[1], guidance_scale=3.0, callback_on_step_end=change)


def test_a_misspelt_option_of_attention_is_not_set_aside(family: tuple[str, Any]) -> None:
    name, pipeline = family
    argument = "cross_attention_kwargs" if name == "sdxl" else "joint_attention_kwargs"
    with pytest.raises(ValueError, match=rf"^{argument} holds 'scal', .* expected scale$"):
        draw(pipeline, **{argument: {"scal": 0.5}})
    for wrong in ("hidden_states", 5, "temb"):
        with pytest.raises(
            ValueError, match=rf"^{argument} holds {wrong!r}, .* expected scale, gligen, ip_adapter_image_embeds$"
        ):
            draw(pipeline, **{argument: {wrong: 0.5}})
    torch.testing.assert_close(draw(pipeline, **{argument: {"scale": 1.0}}), draw(pipeline))


def test_a_text_length_of_the_pipeline_is_a_number_of_tokens() -> None:
    parts = make("sd35-medium").components
    for wrong in ("8", 2.5, True, -1, 513):
        pipeline = SCALEWISE["sd35-medium"](**parts, max_sequence_length=wrong)
        with pytest.raises((TypeError, ValueError), match=r"^max_sequence_length of the pipeline must be"):
            draw(pipeline)
        with pytest.raises((TypeError, ValueError), match=r"^max_sequence_length must be"):
            type(pipeline).from_pretrained("nowhere", max_sequence_length=wrong)
