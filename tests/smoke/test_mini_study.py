"""The training lines of the README on captions as people write them, shortened to one small iteration."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from captioned_images import captioned
from PIL import Image
from training_world import curve, fresh_accelerate

from swd import cache as cache_command
from swd import train as train_command
from swd.data import LatentCache

ROOT = Path(__file__).parents[2]
CAPTIONS = (
    "A photograph of a red bicycle that leans on a wall, late in the afternoon.",
    "Two dogs; one runs, \u00e9t\u00e9 2019",
)
SHORT = ["--iterations", "1", "--batch-size", "2", "--fake-updates", "1", "--warmup", "0", "--no-progress"]


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    with fresh_accelerate():
        yield


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A wide and a high photograph of noise, larger than the mini world's 64 pixels."""
    sizes = ((70, 96, 3), (96, 70, 3))
    noise = [np.random.default_rng(n).integers(0, 256, size, dtype=np.uint8) for n, size in enumerate(sizes)]
    return captioned(tmp_path / "images", CAPTIONS, map(Image.fromarray, noise), ending="jpg")


def test_the_mini_study_distils_a_folder_of_photographs(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    cache, pipeline = tmp_path / "cache", "repro/worlds/mini/weights/pipeline"
    making = ["--images", str(images), "--pipeline", pipeline, "--presets", "mini-4", "--dtype", "float32"]
    with pytest.raises(
        SystemExit, match=r"metadata.jsonl, line 1: .* the text encoders take 12; .*--truncate cuts capt"
    ):
        cache_command.main([*making, "--output", str(cache)])
    cache_command.main([*making, "--truncate", "--output", str(cache)])
    assert LatentCache.open(cache).captions([0, 1]) == list(CAPTIONS)
    study = ["--study", "studies/mini.toml", "--data", str(cache), "--output", str(tmp_path / "run"), *SHORT]
    train_command.main([*study, "--images", str(images), "--truncate"])  # the cache is that of this run, and complete
    (line,) = curve(tmp_path / "run" / "log.jsonl")
    assert all(np.isfinite(value) for value in line.values())
    assert (tmp_path / "run" / "final").is_dir()
