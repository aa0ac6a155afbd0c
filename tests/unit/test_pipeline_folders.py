"""Folders as users have them: every layout loads, ours open in plain diffusers, foreign ones are named."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline
from PIL import Image
from tiny_pipelines import NETWORK, class_name, make, save
from training_world import fresh_accelerate

import swd.train
from swd.backbones.lengths import resolve_length
from swd.backbones.loading import load_pipeline
from swd.errors import PipelineError
from swd.lora.card import StudentCard
from swd.lora.files import ADAPTER_FILE
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import ScaleSchedule

SHORT: dict[str, Any] = {
    "schedule": ScaleSchedule((4, 8), (1.0, 0.6, 0.0)),
    "seeds": 1,
    "output_type": "latent",
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "shards": {"shards": True},
    "fp16": {"variant": "fp16"},
    "fp16 in shards": {"variant": "fp16", "shards": True},
}


@pytest.mark.parametrize("t5", [True, False], ids=["T5", "no T5"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["sd35-medium", "sd35-large"])
def test_every_layout_draws_as_its_own_pipeline(name: str, layout: str, t5: bool, tmp_path: Path) -> None:
    original = make(name, t5=t5)
    save(original, tmp_path, **LAYOUTS[layout])  # in half precision it rounds the original too
    variant = LAYOUTS[layout].get("variant")
    loaded = load_pipeline(str(tmp_path), variant=variant, dtype=torch.float32)
    assert isinstance(loaded, ScalewiseStableDiffusion3Pipeline)
    loaded.set_progress_bar_config(disable=True)
    assert (loaded.text_encoder_3 is None) is not t5
    assert resolve_length(loaded, None) == 512
    expected = ScalewiseStableDiffusion3Pipeline(**original.to(torch.float32).components)
    expected.set_progress_bar_config(disable=True)
    torch.testing.assert_close(loaded("a red star", **SHORT).images, expected("a red star", **SHORT).images)


def test_a_missing_variant_is_named(tmp_path: Path) -> None:
    save(make("sd35-large", t5=False), tmp_path)
    with pytest.raises(PipelineError, match="fp16"):
        load_pipeline(str(tmp_path), variant="fp16")


@pytest.mark.parametrize("length", [None, 16])
def test_a_folder_of_ours_opens_in_plain_diffusers(length: int | None, tmp_path: Path) -> None:
    ours = ScalewiseStableDiffusion3Pipeline(**make("sd35-medium").components, max_sequence_length=length)
    ours.save_pretrained(tmp_path)
    plain = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(plain) is StableDiffusion3Pipeline
    for found, expected in zip(plain.transformer.parameters(), ours.transformer.parameters(), strict=True):
        assert torch.equal(found, expected)
    again = ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path)
    assert resolve_length(again, None) == (length or 512)


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_folders_of_other_families_open_in_plain_diffusers(name: str, tmp_path: Path) -> None:
    original = make(name)
    load_pipeline(str(save(original, tmp_path / "theirs"))).save_pretrained(tmp_path / "ours")
    plain = DiffusionPipeline.from_pretrained(tmp_path / "ours")
    assert type(plain) is type(original)
    network, expected = (getattr(one, NETWORK[name]).state_dict() for one in (plain, original))
    assert all(torch.equal(network[key], weight) for key, weight in expected.items())


def test_what_a_folder_says_goes_with_its_networks(tmp_path: Path) -> None:
    ours = ScalewiseStableDiffusion3Pipeline(**make("sd35-medium", t5=False).components, max_sequence_length=0)
    ours.save_pretrained(tmp_path)
    loaded = ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path)
    loaded.student = StudentCard(scales=(4, 8), sigmas=(1.0, 0.6, 0.0), guidance_scale=2.0)
    again = (
        ScalewiseStableDiffusion3Pipeline(**loaded.components),
        ScalewiseStableDiffusion3Pipeline.from_pipe(loaded),
        copy.deepcopy(loaded),
    )
    for pipeline in (loaded, *again):
        pipeline.set_progress_bar_config(disable=True)
        assert resolve_length(pipeline, None) == 0
        assert pipeline.student == loaded.student
    expected = loaded("a red star", seeds=1, output_type="latent").images
    for pipeline in again:
        torch.testing.assert_close(pipeline("a red star", seeds=1, output_type="latent").images, expected)
    assert resolve_length(ScalewiseStableDiffusion3Pipeline(**loaded.components, max_sequence_length=8), None) == 8
    plain = StableDiffusion3Pipeline(**loaded.components)  # takes no more than it did
    assert "max_sequence_length" not in plain.config


def test_a_folder_under_our_own_name_loads_too(tmp_path: Path) -> None:
    save(make("sd35-medium"), tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(
        json.dumps({**index, "_class_name": "ScalewiseStableDiffusion3Pipeline", "max_sequence_length": 32})
    )
    assert resolve_length(ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path), None) == 32


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_a_folder_of_another_class_is_named(name: str, tmp_path: Path) -> None:
    save(make(name), tmp_path)
    message = f"holds a {class_name(tmp_path)}; ScalewiseStableDiffusion3Pipeline takes StableDiffusion3Pipeline or"
    with pytest.raises(PipelineError, match=message):
        ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path)


def test_a_vae_without_a_shift(tmp_path: Path) -> None:
    pipeline = make("sd35-medium")
    pipeline.vae.register_to_config(shift_factor=None)
    ours = ScalewiseStableDiffusion3Pipeline(**pipeline.components)
    ours.set_progress_bar_config(disable=True)
    latents = ours("a red star", **SHORT).images
    found = ours("a red star", **{**SHORT, "output_type": "pt"}).images
    with torch.no_grad():
        expected = ours.vae.decode(latents / ours.vae.config.scaling_factor).sample / 2 + 0.5
    torch.testing.assert_close(found, expected.clamp(0, 1))


def test_tiles_and_slices_of_the_vae(tmp_path: Path) -> None:
    ours = ScalewiseStableDiffusion3Pipeline(**make("sd35-medium").components)
    ours.set_progress_bar_config(disable=True)
    options = {**SHORT, "seeds": [1, 2], "output_type": "pt"}
    whole = ours(["a red star", "a cross"], **options).images
    ours.vae.enable_slicing()
    torch.testing.assert_close(ours(["a red star", "a cross"], **options).images, whole)
    ours.vae.enable_tiling()
    ours.vae.tile_latent_min_size, ours.vae.tile_sample_min_size = 4, 8
    tiled = ours(["a red star", "a cross"], **options).images
    assert tiled.shape == whole.shape
    assert 0 < (tiled - whole).abs().mean() < 0.2


def test_the_commands_read_a_variant(tmp_path: Path) -> None:
    """A folder that has nothing but half precision: both commands find it when told to, and say so when not."""
    model = save(make("sd35-medium"), tmp_path / "model", variant="fp16")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16), (60 * number, 90, 200)).save(images / f"{number}.png")
    lines = [json.dumps({"file_name": f"{number}.png", "text": "a red star"}) for number in range(4)]
    (images / "metadata.jsonl").write_text("\n".join(lines))
    schedule = ["--preset", "own", "--scales", "4", "8", "--boundaries", "0", "14", "28", "--feature-block", "1"]
    options = ["--iterations", "1", "--batch-size", "2", "--fake-updates", "1", "--rank", "2", "--no-progress"]
    given = ["--pipeline", str(model), "--data", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    command = [*given, "--images", str(images), *schedule, *options]
    with pytest.raises(SystemExit, match="cannot load the pipeline"):
        swd.train.main(command)
    with fresh_accelerate():
        swd.train.main([*command, "--variant", "fp16"])
    assert (tmp_path / "run" / "final" / ADAPTER_FILE).is_file()


def offloaded(way: str, device: str) -> None:
    """An offloaded pipeline draws what it drew before, and does not go the fast way."""
    ours = ScalewiseStableDiffusion3Pipeline(**make("sd35-medium").components).to(device)
    ours.set_progress_bar_config(disable=True)
    options = {**SHORT, "output_type": "pt", "guidance_scale": 2.0}
    expected = ours("a red star", **options).images
    getattr(ours, way)(device=device)
    torch.testing.assert_close(ours("a red star", **options).images, expected)
    with pytest.raises(ValueError, match="cannot run with offloading or other hooks"):
        ours.enable_fast()
    torch.testing.assert_close(ours("a red star", **options).images, expected)


def test_offloading_draws_the_same_and_tells_the_fast_path() -> None:
    offloaded("enable_model_cpu_offload", "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("way", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offloading_from_a_gpu(way: str) -> None:
    offloaded(way, "cuda")


def test_a_pipeline_without_its_network_loads_and_one_with_anothers_leaves_that_alone(tmp_path: Path) -> None:
    ours = ScalewiseStableDiffusion3Pipeline(**make("sd35-medium", t5=False).components, max_sequence_length=0)
    ours.save_pretrained(tmp_path)
    assert ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path, transformer=None).transformer is None
    loaded = ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path)
    options: dict[str, Any] = {"transformer": loaded.transformer, "max_sequence_length": 5}
    assert resolve_length(ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path, **options), None) == 5
    assert resolve_length(ScalewiseStableDiffusion3Pipeline(**loaded.components), None) == 0
