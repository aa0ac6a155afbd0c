"""FLUX from a folder of images to a student that the pipeline draws with, through the command lines."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from captioned_images import captioned, plain
from training_world import fresh_accelerate

from swd import cache as cache_command
from swd import train as train_command
from swd.data import LatentCache
from swd.pipelines import ScalewiseFluxPipeline

ROOT = Path(__file__).parents[2]
CAPTIONS = ("a red star", "a blue cross", "two")


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    with fresh_accelerate():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save(tiny_pipelines.make("flux"), tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = captioned(tmp_path_factory.mktemp("images"), CAPTIONS, plain(len(CAPTIONS), 24))
    output = tmp_path_factory.mktemp("data") / "cache"
    arguments = ["--images", str(images), "--pipeline", str(folder), "--output", str(output), "--scales", "8", "12"]
    cache_command.main([*arguments, "--max-sequence-length", "16"])
    return output


def test_a_student_trains_and_says_how_it_is_sampled(folder: Path, data: Path, tmp_path: Path) -> None:
    cond = LatentCache.open(data).condition([0, 1])
    assert cond.guidance.tolist() == [4.5, 4.5]
    assert cond.prompt_embeds.shape == (2, 16, tiny_pipelines.T5_WIDTH)
    options = ["--scales", "8", "12", "--boundaries", "0", "14", "28", "--feature-block", "3", "--rank", "2"]
    options += ["--iterations", "2", "--batch-size", "2", "--fake-updates", "1", "--lr", "1e-2", "--no-progress"]
    run = ["--pipeline", str(folder), "--data", str(data), "--output", str(tmp_path)]
    study = str(ROOT / "studies" / "flux.toml")
    train_command.main(["--study", study, *run, *options, "--gradient-checkpointing", "full"])
    terms = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert {"pdm", "dmd", "gan", "fake", "discriminator"} < terms.keys()

    pipe = ScalewiseFluxPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    call = {"seeds": 1, "output_type": "latent", "max_sequence_length": 16}
    teacher = pipe("a red star", scales=[8, 12], sigmas=[1.0, 0.7363], **call).images
    pipe.load_lora_weights(tmp_path / "final")
    assert pipe.student.guidance_scale == 4.5
    assert pipe.student.scales == (8, 12)
    student = pipe("a red star", **call).images
    assert (student - teacher).abs().max() > 1e-3
    again = pipe("a red star", scales=[8, 12], sigmas=pipe.student.sigmas, guidance_scale=4.5, **call).images
    assert torch.equal(again, student)
    pipe.enable_fast()
    torch.testing.assert_close(pipe("a red star", **call).images, student, rtol=1e-4, atol=1e-4)
