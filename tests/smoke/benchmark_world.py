"""All that a user of a real profile has, in miniature: pipelines, students, weights of metrics, prompts, real images.

``build(folder)`` makes it, with the real classes and layouts. As a script it measures in a real profile whose models
are these: ``python benchmark_world.py FOLDER table2 --profile sd35-medium ...`` is ``python -m repro table2 ...``.
"""

import csv
import json
import shutil
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_systems import build_systems, small, write_student
from geneval_checkpoints import clip_folder as colour_folder
from geneval_checkpoints import detector_folder
from inception_file import write_inception
from metric_checkpoints import (
    clip_folder,
    image_reward_folder,
    photograph,
    pickscore_folder,
    processor_folder,
)
from tiny_pipelines import make, save

import repro.table1
import repro.table4
from repro.__main__ import main as repro_main
from repro.harness.profile import Profile, Scorer, Teacher
from repro.harness.systems import HubFile
from repro.profiles import PROFILES, load_profile
from swd.schedule import preset

CAPTIONS = ("a red star", "a blue circle left of a square", "two circles", "a cross", "a star left of a cross", "a")
STUDENTS = {"scalewise_6": "mini-6", "scalewise_4": "mini-4"}
OWN = {"fullscale_6": "mini-full-6"}  # that nobody released
TORN = 3  # of the images that were sampled elsewhere
GENEVAL = (
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {
        "tag": "counting",
        "include": [{"class": "clock", "count": 2}],
        "exclude": [{"class": "clock", "count": 3}],
        "prompt": "a photo of two clocks",
    },
    {"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}], "prompt": "a photo of a red cup"},
)


def build(folder: Path) -> Path:
    """Everything, in one folder."""
    save(make("sd35-medium"), folder / "models" / "medium")
    for seed, (name, steps) in enumerate(STUDENTS.items()):
        write_student("sd35-medium", preset(steps), folder / "models" / name, seed=seed)
    for seed, (name, steps) in enumerate(OWN.items()):
        write_student("sd35-medium", preset(steps), folder / "own" / name, seed=10 + seed)
    build_systems(folder / "models")
    _images(folder / "elsewhere" / "coco")
    build_metrics(folder / "models")
    build_data(folder / "data")
    return folder


def build_data(folder: Path) -> None:
    """Prompts and real images of all benchmarks."""
    _coco(folder / "coco2014")
    _mjhq(folder / "mjhq30k")
    path = folder / "geneval" / "evaluation_metadata.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in GENEVAL))


def build_metrics(folder: Path) -> None:
    """Weights of all metrics."""
    clip_folder(folder / "clip")
    pickscore_folder(folder / "pickscore")
    processor_folder(folder / "processor")
    image_reward_folder(folder / "image_reward")
    write_inception(folder / "inception.pth")
    detector_folder(folder / "detector", side=64)
    colour_folder(folder / "colours")


def _coco(folder: Path) -> None:
    (folder / "val2014").mkdir(parents=True)
    with (folder / "coco.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "caption", "file_name"])
        for index, caption in enumerate(CAPTIONS):
            name = f"COCO_val2014_{index:012d}.jpg"
            photograph(index, (64, 48)).save(folder / "val2014" / name)
            writer.writerow([index, caption, name])


def _mjhq(folder: Path) -> None:
    entries = {}
    for index, caption in enumerate(CAPTIONS):
        category = ("animals", "food")[index % 2]
        place = folder / "mjhq30k_imgs" / category
        place.mkdir(parents=True, exist_ok=True)
        photograph(100 + index, (64, 64)).save(place / f"image{index}.jpg")
        entries[f"image{index}"] = {"category": category, "prompt": caption}
    (folder / "meta_data.json").write_text(json.dumps(entries))


def _images(folder: Path) -> None:
    """Images of COCO's captions that another system sampled, one of them cut off."""
    folder.mkdir(parents=True)
    for index in range(len(CAPTIONS)):
        photograph(200 + index).save(folder / f"{index}.png")
    torn = folder / f"{TORN}.png"
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])


def profile(folder: Path, name: str) -> Profile:
    """A real profile with these models in place of its own; schedules and sides are those of the mini world."""
    real, models = load_profile(name), folder / "models"

    def here(scorer: Scorer) -> Scorer:
        places = {"pickscore": "pickscore", "clipscore": "clip", "image_reward": "image_reward", "geneval": "detector"}
        further = {"processor": "processor", "tokenizer": "image_reward", "colors": "colours"}
        settings = {
            key: HubFile(str(models / further[key])) if key in further else value
            for key, value in scorer.settings.items()
        }
        own = HubFile(str(models / places.get(scorer.name, "inception.pth")))
        return replace(scorer, weights=own, settings=settings)

    assert real.execution is not None
    return replace(
        real,
        presets="mini",
        images_per_set=len(CAPTIONS),
        data=replace(real.data, resolution=64, folder=str(folder / "data")),
        weights=replace(
            real.weights,
            pipeline=str(models / "medium"),
            released={key: HubFile(str(models / key)) for key in STUDENTS},
        ),
        scorers=tuple(map(here, real.scorers)),
        teacher=Teacher(steps=3, guidance_scale=4.5, finishing_guidance=7.0),
        execution=replace(real.execution, batch_size=2, dtype="float32", shard_size=3),
        output="results/benchmark",
        committed=False,
    )


def main(folder: Path, arguments: Sequence[str]) -> int:
    """The command line with miniature models; changes this process for good."""
    name = arguments[arguments.index("--profile") + 1]
    module = types.ModuleType("miniature_profile")
    module.PROFILE = profile(folder, name)  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    PROFILES[name] = module.__name__
    repro.table1.TABLE = replace(repro.table1.TABLE, timesteps=(400,), contrasts=repro.table1.TABLE.contrasts[:1])
    repro.table4.TABLE = small(repro.table4.TABLE, folder / "models")
    return repro_main(arguments)


if __name__ == "__main__":
    if sys.argv[1] == "build":
        shutil.rmtree(sys.argv[2], ignore_errors=True)
        build(Path(sys.argv[2]))
    else:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
