"""Memory and speed of scoring at the paper's scale: 30,000 images of 64 px, through the stage that tables use.

The images are made by the image stage, as PNG in shards, every one with a caption of its own; four in a row count as
seeds of one prompt. They are scored in one pass by every metric that sees single images: PickScore, CLIP ViT-H-14 (in
open_clip's layout, as published), ImageReward, diversity (on DINOv2) and GenEval, in their published layouts, with tiny
networks of random weights. What is left is what a GPU does not take away: reading, hashing, decoding, preprocessing,
tokenizing, writing. FID's network has no tiny form, and its distances were measured alone (docs/log.md).

    python benchmarks/scoring_memory.py WORK --images 30000

prints images per second, also of processor time, which a busy machine does not change, and resident memory after 1,000,
10,000 and all images, and after the estimates. What it leaves in WORK is not made again.
"""

import argparse
import itertools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # builders of checkpoints

import psutil
import torch
from geneval_checkpoints import clip_folder as colour_folder
from geneval_checkpoints import detector_folder
from metric_checkpoints import (
    dino_folder,
    image_reward_folder,
    open_clip_folder,
    photograph,
    pickscore_folder,
    processor_folder,
)
from PIL.Image import Image

from repro.harness.profile import Scorer
from repro.harness.systems import HubFile
from repro.metrics import Metric, Prompt
from repro.metrics.reference import Features, Reference
from repro.stages.images import ImageSet, make_images
from repro.stages.scores import score_images
from repro.stages.store import StageStore
from repro.worlds import scorers
from swd.interrupts import ended_by_ctrl_c

SIDE, SEEDS, SHARD, BATCH = 64, 4, 250, 50
MILESTONES = (1_000, 10_000)
POLL_SECONDS = 0.2
MIB = 2**20
NAMES = ("pickscore", "clipscore", "image_reward", "diversity", "geneval")
COLOURS = ("red", "green", "blue")
ASKED = {"tag": "counting", "include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}]}


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds after the start, of processor time too, images that every metric had seen by then, resident bytes."""

    seconds: float
    busy: float
    images: int
    memory: int


@dataclass
class Watch:
    """Samples of this process while a pass runs, as a context; a pass is watched from outside, by the files it leaves.

    Attributes:
        folder: of the arrays that metrics leave.
        metrics: how many leave them.
        samples: in order of time.
    """

    folder: Path
    metrics: int
    samples: list[Sample] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        used = psutil.Process().cpu_times()
        self._start, self._busy = monotonic(), used.user + used.system
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        process = psutil.Process()
        while True:
            seen = sum(1 for _ in self.folder.glob("*/*.safetensors")) // self.metrics * SHARD
            used = process.cpu_times()
            busy = used.user + used.system - self._busy
            self.samples.append(Sample(monotonic() - self._start, busy, seen, process.memory_info().rss))
            if self._end.wait(POLL_SECONDS):
                return


def prompts(count: int) -> list[Prompt]:
    """Captions that are all different, four seeds for each prompt."""
    return [
        {
            "id": str(index),
            "caption": f"{index} {COLOURS[index % 3]} stars and a dog on a green circle, number {7 * index}",
            "seed": index % SEEDS,
            "prompt_id": str(index // SEEDS),
            "geneval": ASKED,
        }
        for index in range(count)
    ]


def images(store: StageStore, count: int) -> ImageSet:
    """The image set, by the image stage."""

    def draw(wanted: Sequence[Prompt]) -> list[Image]:
        return [photograph(int(prompt["id"]), (SIDE, SIDE)) for prompt in wanted]

    inputs = {"drawn": "shapes and grain", "side": SIDE, "count": count, "shard_size": SHARD}
    return make_images(store, inputs, prompts(count), lambda: draw, "images", batch_size=BATCH)


def checkpoints(folder: Path) -> dict[str, Scorer]:
    """Declarations of the metrics, with tiny networks that are built where they are missing."""

    def at(name: str, build: Any) -> HubFile:
        if not (folder / name).exists():
            build(folder / name)
        return HubFile(str(folder / name))

    folder.mkdir(parents=True, exist_ok=True)
    reward = at("image_reward", image_reward_folder)
    settings: dict[str, tuple[HubFile, dict[str, Any]]] = {
        "pickscore": (at("pickscore", pickscore_folder), {"processor": at("processor", processor_folder)}),
        "clipscore": (at("clip", open_clip_folder), {}),
        "image_reward": (reward, {"tokenizer": reward}),
        "diversity": (at("dino", dino_folder), {}),
        "geneval": (
            at("detector", lambda path: detector_folder(path, side=SIDE)),
            {"colors": at("colours", colour_folder)},
        ),
    }
    return {name: Scorer(name, weights, (), settings=more) for name, (weights, more) in settings.items()}


def metrics(folder: Path, names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, as a world builds them."""

    def reference(features: Features) -> Reference:
        raise AssertionError(f"nothing here is compared with real images, asked for those of {features.name}")

    declared = checkpoints(folder)
    return [scorers.build(declared[name], folder, torch.device("cpu"), reference) for name in names]


def report(samples: Sequence[Sample], count: int) -> Iterator[str]:
    """A line for each milestone: images per second, and of processor time; resident memory just then and at most."""
    yield f"at the start: {samples[0].memory / MIB:,.0f} MiB"
    for milestone in (*(number for number in MILESTONES if number < count), count):
        until = next(index for index, sample in enumerate(samples) if sample.images >= milestone)
        now, most = samples[until], max(sample.memory for sample in samples[: until + 1])
        speed = f"{now.images / now.seconds:,.0f} images/s, {now.images / now.busy:,.0f} of processor time"
        yield f"{now.images:,} images: {speed}, {now.memory / MIB:,.0f} MiB, at most {most / MIB:,.0f} MiB"
    yield f"with estimates: {samples[-1].seconds:,.0f} s, at most {max(s.memory for s in samples) / MIB:,.0f} MiB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make images and networks, score, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path, help="folder for images, networks and scores")
    parser.add_argument("--images", type=int, default=30_000, help="a multiple of 250")
    parser.add_argument("--metrics", nargs="+", choices=NAMES, default=NAMES)
    options = parser.parse_args(arguments)
    if options.images < SHARD or options.images % SHARD:
        parser.error(f"--images is a multiple of {SHARD}, got {options.images}")
    found = images(StageStore(options.work), options.images)
    fresh = next(path for n in itertools.count() if not (path := options.work / f"scores-{n}").exists())
    built = metrics(options.work / "networks", options.metrics)
    with Watch(fresh / "measured", len(built)) as watch:
        result = score_images(StageStore(fresh), found, {"run": fresh.name}, lambda: built, batch_size=BATCH)
    print(f"{options.images:,} images of {SIDE} px, {', '.join(options.metrics)}, {torch.get_num_threads()} thread(s)")
    print(*report(watch.samples, options.images), sep="\n")
    print(*(f"{key} = {estimate.value:.6f}" for key, estimate in result.values.items()), sep="\n")
    return 0


if __name__ == "__main__":
    with ended_by_ctrl_c():
        sys.exit(main())
