"""What the other tests stand on: tiny pipelines in every layout are what plain diffusers opens and draws with."""

from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import DiffusionPipeline

CALL: dict[str, Any] = {"height": 16, "width": 24, "num_inference_steps": 2, "output_type": "pt"}


def draw(pipeline: Any) -> torch.Tensor:
    extra = {} if "unet" in pipeline.components else {"max_sequence_length": 16}
    pipeline.set_progress_bar_config(disable=True)
    images: torch.Tensor = pipeline("a red star", generator=torch.Generator().manual_seed(0), **CALL, **extra).images
    return images


@pytest.mark.parametrize("name", tiny_pipelines.NETWORK)
@pytest.mark.parametrize("shards", [False, True])
def test_a_saved_pipeline_draws_the_same(name: str, shards: bool, tmp_path: Path) -> None:
    made = tiny_pipelines.make(name)
    folder = tiny_pipelines.save(made, tmp_path / name, shards=shards)
    files = list((folder / tiny_pipelines.NETWORK[name]).glob("*.safetensors"))
    assert (len(files) > 1) == shards
    found = DiffusionPipeline.from_pretrained(folder)
    assert type(found).__name__ == tiny_pipelines.class_name(folder) == type(made).__name__
    expected = draw(made)
    torch.testing.assert_close(draw(found), expected)
    assert expected.shape == (1, 3, 16, 24)
    assert not torch.allclose(draw(tiny_pipelines.make(name, seed=1)), expected)


@pytest.mark.parametrize("name", tiny_pipelines.NETWORK)
def test_a_variant_is_found_by_its_name_alone(name: str, tmp_path: Path) -> None:
    folder = tiny_pipelines.save(tiny_pipelines.make(name), tmp_path / name, variant="fp16")
    assert list((folder / tiny_pipelines.NETWORK[name]).glob("*.fp16.safetensors"))
    found = DiffusionPipeline.from_pretrained(folder, variant="fp16", dtype=torch.float16)
    assert getattr(found, tiny_pipelines.NETWORK[name]).dtype == torch.float16
    with pytest.raises(OSError, match="no file named"):
        DiffusionPipeline.from_pretrained(folder)


def test_sd35_without_t5_names_what_is_missing(tmp_path: Path) -> None:
    pipeline = tiny_pipelines.make("sd35-medium", t5=False)
    folder = tiny_pipelines.save(pipeline, tmp_path / "no-t5")
    assert not (folder / "text_encoder_3").exists()
    found = DiffusionPipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    torch.testing.assert_close(draw(found), draw(pipeline))
