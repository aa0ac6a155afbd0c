"""ScalewiseFluxPipeline: what its callers write, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import DiffusionPipeline, FluxPipeline, FluxTransformer2DModel

from swd.backbones.loading import load_pipeline
from swd.pipelines import ScalewiseFluxPipeline

SCALES, SIGMAS = [4, 6, 8], [1.0, 0.8, 0.5]
SHORT = {"scales": SCALES, "sigmas": SIGMAS, "output_type": "latent", "max_sequence_length": 6, "seeds": [3, 8]}
PROMPTS = ["a red star", "two blue"]


@pytest.fixture(scope="module")
def flux() -> FluxPipeline:
    return tiny_pipelines.make("flux")


@pytest.fixture
def pipeline(flux: FluxPipeline) -> ScalewiseFluxPipeline:
    pipeline = ScalewiseFluxPipeline(**flux.components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: ScalewiseFluxPipeline, **changes: Any) -> torch.Tensor:
    latents: torch.Tensor = pipeline(changes.pop("prompt", PROMPTS), **{**SHORT, **changes}).images
    return latents


def test_published_snippet_runs(pipeline: ScalewiseFluxPipeline) -> None:
    sigmas = torch.tensor([*SIGMAS, 0.0])
    images = pipeline(
        "a red star",
        sigmas=sigmas,
        timesteps=sigmas[:-1] * 1000,
        scales=SCALES,
        guidance_scale=4.5,
        height=SCALES[0] * pipeline.vae_scale_factor,
        width=SCALES[0] * pipeline.vae_scale_factor,
        generator=torch.Generator().manual_seed(0),
        max_sequence_length=512,
    ).images
    assert images[0].size == (16, 16)


def test_guidance_is_a_number_that_the_network_reads(pipeline: ScalewiseFluxPipeline) -> None:
    seen: list[torch.Tensor] = []
    hook = pipeline.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["guidance"]), with_kwargs=True
    )
    published = draw(pipeline)
    assert torch.equal(draw(pipeline, guidance_scale=4.5), published)
    assert (draw(pipeline, guidance_scale=1.5) - published).abs().max() > 1e-4
    embeds = pipeline.encode_condition(PROMPTS, max_sequence_length=6)
    given = {"prompt_embeds": embeds.prompt_embeds, "pooled_prompt_embeds": embeds.pooled}
    assert torch.equal(draw(pipeline, prompt=None, **given), published)
    hook.remove()
    steps = len(SCALES)
    assert [rows.tolist() for rows in seen] == [[4.5] * 2] * (2 * steps) + [[1.5] * 2] * steps + [[4.5] * 2] * steps


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"negative_prompt": "a cross"}, "negative_prompt has"),
        ({"negative_prompt": "a cross", "true_cfg_scale": 4.0}, r"negative_prompt and true_cfg_scale=4\.0"),
        ({"negative_prompt_2": "a cross"}, "negative_prompt_2"),
        ({"negative_prompt_embeds": torch.zeros(1, 2, 3)}, "negative_prompt_embeds"),
    ],
)
def test_true_guidance_is_refused_by_name(
    pipeline: ScalewiseFluxPipeline, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=rf"without true \(classifier-free\) guidance, so {named}"):
        draw(pipeline, **arguments)
    assert torch.equal(draw(pipeline, true_cfg_scale=1.0), draw(pipeline))


def test_a_network_without_guidance_refuses_a_number(pipeline: ScalewiseFluxPipeline) -> None:
    config = {key: value for key, value in pipeline.transformer.config.items() if not key.startswith("_")}
    pipeline.transformer = FluxTransformer2DModel(**{**config, "guidance_embeds": False}).eval()
    assert torch.equal(draw(pipeline, guidance_scale=0.0), draw(pipeline))
    with pytest.raises(ValueError, match=r"schnell\) reads no guidance, got guidance_scale=3.5"):
        draw(pipeline, guidance_scale=3.5)


def test_prompts_of_their_own_reach_their_encoder(pipeline: ScalewiseFluxPipeline) -> None:
    embeds, pooled, _ = pipeline.encode_prompt("a star", prompt_2="two blue", max_sequence_length=6)
    expected = draw(pipeline, prompt=None, prompt_embeds=embeds, pooled_prompt_embeds=pooled, seeds=[3])
    torch.testing.assert_close(draw(pipeline, prompt="a star", prompt_2="two blue", seeds=[3]), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "prompts must not be empty"),
        ({"prompt": "a red star of two"}, r"prompt has 6 tokens, T5 takes 4; shorten it"),
        ({"max_sequence_length": 513}, "T5 takes up to 512 tokens, got max_sequence_length=513"),
        ({"max_sequence_length": 0}, "FLUX takes 1 to 512 tokens of T5, got max_sequence_length=0"),
    ],
)
def test_what_t5_does_not_read_is_refused(
    pipeline: ScalewiseFluxPipeline, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw(pipeline, **{"max_sequence_length": 4, "seeds": [0], "prompt": "a star", **changes})


def test_without_t5_there_are_no_tokens(pipeline: ScalewiseFluxPipeline) -> None:
    pipeline.text_encoder_2 = pipeline.tokenizer_2 = None
    with pytest.raises(ValueError, match="reads its text from T5, and this pipeline has no text_encoder_2"):
        draw(pipeline, max_sequence_length=None)
    with pytest.raises(ValueError, match=r"max_sequence_length=6 asks for tokens of T5 \(text_encoder_2\)"):
        draw(pipeline)


@pytest.mark.parametrize("options", [{}, {"variant": "fp16"}, {"shards": True}], ids=["plain", "fp16", "shards"])
def test_folders_as_they_are_published_load(flux: FluxPipeline, tmp_path: Path, options: dict[str, Any]) -> None:
    made = flux if "variant" not in options else tiny_pipelines.make("flux")
    folder = tiny_pipelines.save(made, tmp_path / "pipeline", **options)
    variant = {"variant": "fp16"} if "variant" in options else {}
    loaded = load_pipeline(str(folder), dtype=torch.float32, **variant)
    assert isinstance(loaded, ScalewiseFluxPipeline)
    loaded.set_progress_bar_config(disable=True)
    expected = ScalewiseFluxPipeline(**flux.components)
    expected.set_progress_bar_config(disable=True)
    close = {"atol": 0.02, "rtol": 0.02} if variant else {"atol": 0, "rtol": 0}
    torch.testing.assert_close(draw(loaded), draw(expected), **close)
    loaded.save_pretrained(tmp_path / "again")
    again = DiffusionPipeline.from_pretrained(tmp_path / "again")
    assert type(again) is FluxPipeline
    assert torch.equal(again.transformer.proj_out.weight, loaded.transformer.proj_out.weight)


def test_callbacks_see_text_and_change_it(pipeline: ScalewiseFluxPipeline) -> None:
    shapes: list[tuple[int, ...]] = []

    def callback(
        _: Any, step: int, timestep: torch.Tensor, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        shapes.append(tuple(tensors["latents"].shape))
        return {"prompt_embeds": torch.zeros_like(tensors["prompt_embeds"])} if step == 0 else {}

    changed = draw(
        pipeline,
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
    )
    assert shapes == [(2, 4, 6, 6), (2, 4, 8, 8), (2, 4, 8, 8)]
    assert (changed - draw(pipeline)).abs().max() > 1e-3


def test_adapters_count_by_their_scale(pipeline: ScalewiseFluxPipeline) -> None:
    """``joint_attention_kwargs={"scale": 0}`` is the network without its adapter."""
    plain = draw(pipeline)
    weights = {
        "transformer.single_transformer_blocks.0.proj_out.lora_A.weight": torch.randn(2, 160),
        "transformer.single_transformer_blocks.0.proj_out.lora_B.weight": torch.randn(32, 2),
    }
    FluxPipeline.load_lora_weights(pipeline, weights, adapter_name="student")
    try:
        assert (draw(pipeline) - plain).abs().max() > 1e-2
        torch.testing.assert_close(draw(pipeline, joint_attention_kwargs={"scale": 0.0}), plain)
    finally:
        pipeline.unload_lora_weights()
