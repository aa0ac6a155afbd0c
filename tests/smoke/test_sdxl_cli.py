"""SDXL from a folder of images to a student, through the command lines and the published studies."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from captioned_images import captioned, plain
from diffusers import StableDiffusionXLPipeline
from training_world import fresh_accelerate

from swd import cache as cache_command
from swd import train as train_command
from swd.backbones import denoiser_of
from swd.data import LatentCache
from swd.errors import CacheError
from swd.lora.files import load_adapter, read_adapter
from swd.pipelines import ScalewiseStableDiffusionXLPipeline
from swd.schedule import preset
from swd.training import DistillConfig, train

ROOT = Path(__file__).parents[2]
SCALES, BOUNDARIES = ("8", "12"), ("0", "30", "50")
CAPTIONS = ("a red star", "a blue cross", "two circles")


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    with fresh_accelerate():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save(tiny_pipelines.make("sdxl"), tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = captioned(tmp_path_factory.mktemp("images"), CAPTIONS, plain(len(CAPTIONS), 24))
    output = tmp_path_factory.mktemp("data") / "cache"
    cache_command.main(
        ["--images", str(images), "--pipeline", str(folder), "--output", str(output), "--scales", *SCALES]
    )
    return output


def test_the_cache_holds_sizes_of_the_finished_image_and_zeros_for_no_prompt(data: Path) -> None:
    cache = LatentCache.open(data)
    assert cache.condition([0, 1]).time_ids.tolist() == [[24, 24, 0, 0, 24, 24]] * 2
    assert not cache.empty.prompt_embeds.any()
    assert not cache.empty.pooled.any()


@pytest.mark.parametrize("study", ["sdxl", "sdxl-all-losses"])
def test_studies_train_and_their_adapters_change_the_images(
    study: str, folder: Path, data: Path, tmp_path: Path
) -> None:
    options = [
        "--scales",
        *SCALES,
        "--boundaries",
        *BOUNDARIES,
        "--iterations",
        "2",
        "--batch-size",
        "2",
        "--rank",
        "2",
    ]
    options += ["--fake-updates", "1", "--lr", "1e-2", "--no-progress", "--gradient-checkpointing", "full"]
    run = ["--pipeline", str(folder), "--data", str(data), "--output", str(tmp_path)]
    train_command.main(["--study", str(ROOT / "studies" / f"{study}.toml"), *run, *options, "--no-progress"])
    terms = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert ("dmd" in terms) == ("fake" in terms) == (study != "sdxl")
    _, metadata = read_adapter(tmp_path / "final")
    assert metadata["sigmas"] == pytest.approx([1.0, 0.4, 0.0])

    pipe = ScalewiseStableDiffusionXLPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    call = {"scales": [8, 12], "timesteps": [1000, 400, 0], "seeds": 1, "output_type": "latent"}
    before = pipe("a red star", **call).images
    load_adapter(denoiser_of(pipe), tmp_path / "final")
    after = pipe("a red star", **call).images
    assert (after - before).abs().max() > 1e-3
    loaded = ScalewiseStableDiffusionXLPipeline.from_pretrained(folder)
    loaded.load_lora_weights(tmp_path / "final")  # which says its schedule
    torch.testing.assert_close(loaded("a red star", seeds=1, output_type="latent").images, after)

    plain = StableDiffusionXLPipeline.from_pretrained(folder)
    plain.load_lora_weights(str(tmp_path / "final"))
    x_t, cond = torch.randn(1, 4, 12, 12), pipe.encode_condition(["a red star"])
    added = {"text_embeds": cond.pooled, "time_ids": cond.time_ids}
    noises = [part.unet(x_t, 399, cond.prompt_embeds, added_cond_kwargs=added).sample for part in (pipe, plain)]
    torch.testing.assert_close(*noises)


def test_a_cache_of_larger_images_is_refused(folder: Path, data: Path, tmp_path: Path) -> None:
    config = DistillConfig(
        preset="own", grid="sdxl", scales=(8, 8), boundaries=(0, 30, 50), feature_block=3, batch_size=1
    )
    denoiser = denoiser_of(ScalewiseStableDiffusionXLPipeline.from_pretrained(folder))
    with pytest.raises(CacheError, match="images of its largest scale 12, the schedule ends at 8: build a cache of"):
        train(config, denoiser, LatentCache.open(data), tmp_path / "run")


@pytest.mark.parametrize("study", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_every_study_is_one(study: Path) -> None:
    command = train_command.parse(["--study", str(study), "--pipeline", "p", "--data", "d", "--output", "o"])
    assert command.distill.schedule() == preset(command.distill.preset)
