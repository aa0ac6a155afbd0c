"""Images of a table are written in the encoding that was asked for, and those that are there stay what they were."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from repro.harness.profile import Encoding, Execution
from repro.kinds.scores.sources import Studio
from repro.stages.store import StageStore

PROMPTS = [{"id": str(index), "caption": f"caption {index}", "seed": index} for index in range(3)]
EXECUTION = Execution(batch_size=2, dtype="float32", shard_size=2)


@dataclass
class Measurement:
    """As much of one as images need."""

    store: StageStore
    execution: Execution
    device: torch.device


def made(folder: Path, encoding: Encoding) -> Any:
    measurement = Measurement(StageStore(folder), replace(EXECUTION, encoding=encoding), torch.device("cpu"))
    studio = Studio(measurement, SimpleNamespace(), ())  # type: ignore[arg-type]

    def draw(prompts: Any) -> list[Image.Image]:
        return [Image.effect_noise((8, 8), 40 + prompt["seed"]).convert("RGB") for prompt in prompts]

    return studio.made("row, set", PROMPTS, {"row": 1}, lambda: draw, side=8)


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_files_are_in_the_encoding_of_the_execution(encoding: Encoding, tmp_path: Path) -> None:
    found = made(tmp_path, encoding)
    files = sorted(path.name for path in found.folder.iterdir() if path.stem.isdecimal())
    assert files == [f"{index:06d}.{encoding}" for index in range(3)]
    with Image.open(found.folder / files[0]) as image:
        assert image.format == encoding.upper()


def test_images_of_another_encoding_are_another_set_and_png_is_what_it_was(tmp_path: Path) -> None:
    assert made(tmp_path, "png").folder != made(tmp_path, "webp").folder
    assert "encoding" not in made(tmp_path, "png").inputs
