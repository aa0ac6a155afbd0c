"""Images and their scores in seconds, to be disturbed: noise by seed, the level of each image and of all."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
from PIL import Image

from repro.harness.experiment import ExperimentError
from repro.harness.files import OutputError
from repro.kinds.reliability.faults import pause
from repro.kinds.reliability.training import NO_OUTPUT, prepare
from repro.metrics.base import Estimate, Measured, Prompt, mean_estimate
from repro.stages.failures import told
from repro.stages.images import make_images
from repro.stages.scores import score_images
from repro.stages.store import StageStore

COUNT, SHARD, SIDE = 24, 4, 16
PROMPTS = [{"id": f"p{number}", "caption": f"caption {number}", "seed": number} for number in range(COUNT)]
INPUTS = {"model": "noise", "shard_size": SHARD}


class Level:
    """Mean level of each image, and its pixels as features whose sum is a number of the set."""

    key = "level"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def inputs(self) -> dict[str, Any]:
        """What values follow from."""
        return {"version": 1}

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
        """Level and pixels of each image."""
        sleep(self.seconds)
        found = np.stack([np.asarray(image, dtype=np.float32) for image in images])
        return {"level": found.mean((1, 2, 3)), "level.pixels": found.reshape(len(images), -1)}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """The mean level, and the sum of all pixels."""
        total = sum(block.astype(np.float64).sum() for block in measured.blocks("level.pixels"))
        return {"level": mean_estimate(measured.column("level")), "sum": Estimate(float(total), None, None, COUNT)}


def run(
    folder: Path, *, seconds: float = 0.01, pause_after: int | None = None, jumps: int | None = None, score: bool = True
) -> None:
    """Make what is missing of the images, then measure them.

    Args:
        folder: of stages; what is printed goes beside it.
        seconds: that a batch of two images takes to draw, and one of four to measure.
        pause_after: batches of this process after which to wait.
        jumps: seed of the jumps of the system's clock, at every look at it.
        score: whether they are measured too.
    """
    prepare(folder, jumps)
    batches = iter(range(1, 1 << 30))

    def draw(prompts: Sequence[Prompt]) -> list[Image.Image]:
        sleep(seconds)
        if next(batches) == pause_after:
            pause(folder)
        shape = (SIDE, SIDE, 3)
        pixels = (np.random.default_rng(prompt["seed"]).integers(0, 256, shape, dtype=np.uint8) for prompt in prompts)
        return [Image.fromarray(values) for values in pixels]

    store = StageStore(folder)
    try:
        with told(folder):
            images = make_images(store, INPUTS, PROMPTS, lambda: draw, "images", batch_size=2)
            if score:
                score_images(store, images, {"metrics": 1}, lambda: [Level(seconds)], batch_size=4)
    except (ExperimentError, OutputError) as error:
        print(error)
        sys.exit(NO_OUTPUT)


def left(folder: Path) -> dict[str, Any]:
    """What a finished pass leaves: images, manifests, arrays and values, by their places."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): _comparable(path) for path in found if ".leases" not in str(path)}


def saved(folder: Path) -> dict[Any, Any]:
    """Dates of finished shards: of manifests, with those of their images, and of measured arrays."""
    shards = [*folder.glob("images/*/shard-*.jsonl"), *folder.glob("measured/*/shard-*.safetensors")]
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in shards}


def _comparable(path: Path) -> Any:
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()
