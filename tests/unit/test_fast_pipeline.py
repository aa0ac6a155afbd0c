import copy
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from conftest import make_transformer
from diffusers import StableDiffusion3Pipeline
from fast_world import OFF, PARTS, SCHEDULE, assert_same, write_adapter

from swd.backbones.fast import FastOptions
from swd.backbones.prompt_cache import PromptCache
from swd.backbones.sd3.condition import TextCondition
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import preset

WEIGHTS = Path(__file__).parents[2] / "repro" / "worlds" / "mini" / "weights"
SHORT = {"schedule": SCHEDULE, "output_type": "latent", "seeds": [3, 8]}
PROMPTS = ["a red star", "two blue circles"]


@pytest.fixture
def pipeline(tiny_pipeline: StableDiffusion3Pipeline) -> ScalewiseStableDiffusion3Pipeline:
    pipeline = ScalewiseStableDiffusion3Pipeline(**tiny_pipeline.components, max_sequence_length=4)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two students of the tiny pipeline's transformer."""
    folders = [tmp_path_factory.mktemp(f"student{seed}") for seed in (1, 2)]
    return [write_adapter(make_transformer(), folder, seed=seed) for seed, folder in enumerate(folders)]


@pytest.fixture(scope="module")
def mini() -> ScalewiseStableDiffusion3Pipeline:
    pipeline = ScalewiseStableDiffusion3Pipeline.from_pretrained(WEIGHTS / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(WEIGHTS / "adapters" / "scalewise_4")
    return pipeline


@pytest.mark.parametrize("parts", PARTS)
def test_shipped_student_draws_the_same(mini: ScalewiseStableDiffusion3Pipeline, parts: str) -> None:
    call = {"schedule": preset("mini-4"), "seeds": [0, 1], "output_type": "latent"}
    mini.disable_fast()
    expected = mini(PROMPTS, **call).images
    mini.enable_fast(PARTS[parts])
    for _ in range(2):  # the second call has the prompts at hand
        assert_same(mini(PROMPTS, **call).images, expected)


def draw(pipeline: ScalewiseStableDiffusion3Pipeline, **changes: Any) -> torch.Tensor:
    return pipeline(PROMPTS, **{**SHORT, **changes}).images


def write_weights(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    with torch.no_grad():
        pipeline.transformer.transformer_blocks[0].attn.to_q.base_layer.weight.mul_(1.5)
        pipeline.transformer.transformer_blocks[0].norm1.linear.weight.mul_(1.5)


def average(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    """As an EMA puts its weights in: through ``.data``, which no version counts."""
    shadow = make_transformer(seed=4).state_dict()
    for name, weight in pipeline.transformer.named_parameters():
        if ".lora_" not in name:
            weight.data.copy_(shadow[name.replace(".base_layer.", ".")])


def step_of_an_optimiser(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    """As optimisers of other libraries write: in place, through ``.data``."""
    for name, weight in pipeline.transformer.named_parameters():
        if ".lora_" in name:
            weight.data.add_(torch.ones_like(weight), alpha=0.1)


def exchange_numbers(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    for weight in pipeline.transformer.parameters():
        weight.data = weight.data * 1.2


def exchange_transformer(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    pipeline.transformer = make_transformer(seed=4)


CHANGES: dict[str, Callable[[ScalewiseStableDiffusion3Pipeline, Path], object]] = {
    "unload": lambda pipe, _: pipe.unload_lora_weights(),
    "load another": lambda pipe, folder: pipe.load_lora_weights(folder, adapter_name="other"),
    "load after unloading": lambda pipe, folder: (pipe.unload_lora_weights(), pipe.load_lora_weights(folder)),
    "weigh": lambda pipe, _: pipe.set_adapters(["first"], adapter_weights=0.5),
    "switch off": lambda pipe, _: pipe.disable_lora(),
    "delete": lambda pipe, _: pipe.delete_adapters("first"),
    "fuse": lambda pipe, _: pipe.fuse_lora(),
    "write weights": lambda pipe, _: write_weights(pipe),
    "average": lambda pipe, _: average(pipe),
    "step of an optimiser": lambda pipe, _: step_of_an_optimiser(pipe),
    "exchange numbers": lambda pipe, _: exchange_numbers(pipe),
    "load a state": lambda pipe, _: pipe.transformer.load_state_dict(
        {key: weight * 1.2 for key, weight in pipe.transformer.state_dict().items()}
    ),
    "exchange the transformer": lambda pipe, _: exchange_transformer(pipe),
    "cast": lambda pipe, _: pipe.to(torch.float64),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_call_sees_a_change(
    name: str, pipeline: ScalewiseStableDiffusion3Pipeline, adapters: list[Path]
) -> None:
    """The fast path is built again: the pipeline's own path is right, and it agrees."""
    pipeline.load_lora_weights(adapters[0], adapter_name="first")
    pipeline.enable_fast()
    before = draw(pipeline)
    CHANGES[name](pipeline, adapters[1])
    after = draw(pipeline)
    pipeline.disable_fast()
    assert_same(after, draw(pipeline))
    if name not in ("fuse", "cast"):
        assert (after - before).abs().max() > 1e-3


def test_nothing_is_built_twice_without_a_change(
    pipeline: ScalewiseStableDiffusion3Pipeline, adapters: list[Path]
) -> None:
    pipeline.load_lora_weights(adapters[0])
    pipeline.enable_fast()
    built = pipeline._fast
    draw(pipeline)
    pipeline("a red star", guidance_scale=3.0, **{**SHORT, "seeds": 0})
    assert pipeline._fast is built


def test_guided_pipeline_is_the_same(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    expected = draw(pipeline, guidance_scale=3.0, negative_prompt="a cross")
    pipeline.enable_fast()
    assert_same(draw(pipeline, guidance_scale=3.0, negative_prompt="a cross"), expected)


@pytest.fixture
def encoded(pipeline: ScalewiseStableDiffusion3Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prompts that went through the text encoders of ``pipeline``."""
    seen: list[str] = []
    encode = pipeline.encode_prompt

    def counting(prompt: list[str], *args: object, **kwargs: object) -> object:
        seen.extend(prompt)
        return encode(prompt, *args, **kwargs)

    monkeypatch.setattr(pipeline, "encode_prompt", counting)
    return seen


def test_prompts_are_encoded_once(pipeline: ScalewiseStableDiffusion3Pipeline, encoded: list[str]) -> None:
    plain = pipeline.encode_condition(PROMPTS)
    pipeline.enable_fast(FastOptions(prompt_cache=3))
    encoded.clear()
    for _ in range(2):
        cached = pipeline.encode_condition(PROMPTS)
        assert torch.equal(cached.prompt_embeds, plain.prompt_embeds)
        assert torch.equal(cached.pooled, plain.pooled)
    assert encoded == PROMPTS
    draw(pipeline, guidance_scale=2.0)
    draw(pipeline, guidance_scale=2.0)
    assert encoded == [*PROMPTS, ""]
    pipeline.encode_condition(PROMPTS[:1], max_sequence_length=0)
    assert encoded[3:] == PROMPTS[:1]


def test_prompt_cache_follows_the_text_encoders(
    pipeline: ScalewiseStableDiffusion3Pipeline, encoded: list[str]
) -> None:
    pipeline.enable_fast()
    before = pipeline.encode_condition(PROMPTS)
    with torch.no_grad():
        pipeline.text_encoder.text_projection.weight.mul_(2)
    after = pipeline.encode_condition(PROMPTS)
    assert encoded == PROMPTS * 2
    assert not torch.equal(before.pooled, after.pooled)
    pipeline.text_encoder.text_projection.weight.data.mul_(0.5)
    assert torch.equal(pipeline.encode_condition(PROMPTS).pooled, before.pooled)
    assert encoded == PROMPTS * 3
    pipeline.to(torch.float64)
    assert pipeline.encode_condition(PROMPTS).pooled.dtype == torch.float64


def test_kept_prompts_keep_no_encoder(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    pipeline.text_encoder = copy.deepcopy(pipeline.text_encoder)  # nobody else has this one
    pipeline.enable_fast()
    pipeline.encode_condition(PROMPTS)
    encoder = weakref.ref(pipeline.text_encoder)
    pipeline.text_encoder = None
    gc.collect()
    assert encoder() is None


@pytest.mark.parametrize("switch", [lambda pipe: pipe.enable_fast(OFF), lambda pipe: pipe.disable_fast()])
def test_prompt_cache_can_be_off(
    pipeline: ScalewiseStableDiffusion3Pipeline, encoded: list[str], switch: Callable[[Any], None]
) -> None:
    pipeline.enable_fast()
    switch(pipeline)
    for _ in range(2):
        pipeline.encode_condition(PROMPTS)
    assert encoded == PROMPTS * 2


def test_least_recently_used_prompt_goes_first() -> None:
    cache, asked = PromptCache(2), []

    def encode(prompts: list[str]) -> TextCondition:
        asked.extend(prompts)
        codes = torch.tensor([float(ord(prompt)) for prompt in prompts])
        return TextCondition(codes[:, None, None], codes[:, None])

    for prompts, new in (("ab", "ab"), ("a", ""), ("c", "c"), ("a", ""), ("b", "b"), ("defd", "def"), ("f", "")):
        asked.clear()
        result = cache.encode(list(prompts), (), encode)
        assert asked == list(new)
        assert result.pooled.flatten().tolist() == [ord(prompt) for prompt in prompts]
        assert len(cache) <= 2


def test_a_kernel_of_another_device_is_refused(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    with pytest.raises(ValueError, match="attention 'cudnn' needs a CUDA device, got cpu"):
        pipeline.enable_fast(FastOptions(attention="cudnn"))
    assert torch.equal(draw(pipeline), draw(pipeline))  # as if nothing had been asked for


def test_offloading_is_refused_before_and_after(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    pipeline.enable_fast()
    add_hook_to_module(pipeline.transformer, ModelHook())
    for _ in range(2):  # the second call does not pass quietly either
        with pytest.raises(ValueError, match=r"offloading or other hooks .* found on 1 modules .*first: itself"):
            draw(pipeline)
    with pytest.raises(ValueError, match="disable_fast"):
        pipeline.enable_fast()
    pipeline.disable_fast()
    draw(pipeline)
