"""`python -m repro.worlds.mini.tune`: short distillations at several rates, judged on captions of the training range.

It is there to choose the rates in `repro/profiles/mini.py`, one for each kind of student, and the number of iterations.
Both kinds get the same rates and the same counts. What the tables are measured on is never looked at. What was found is
kept beside the weights, with a figure; finished counts of the same training, pipeline and images are not repeated. The
rules by which `chosen` decides, and what had been seen when they were written: docs/decisions/student-training.md.
"""

import argparse
import fcntl
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.lines import Line2D

from repro.harness.experiment import Row
from repro.harness.files import ROOT, digest_folder, digest_json, write_atomic
from repro.harness.inference import clustered_error
from repro.harness.plan import resolve
from repro.harness.profile import Distil, Profile
from repro.metrics import EvaluationResult, evaluate
from repro.profiles.mini import DISTIL, EXECUTION, PROFILE
from repro.stages.images import generator_of, load_pipeline
from repro.stages.one_process import lone_accelerator
from repro.stages.stopping import STATE_MINUTES, stoppable
from repro.stages.store import StageStore
from repro.stages.students import latent_cache
from repro.table2 import TABLE
from repro.worlds.mini.build import TRAIN_SCENES
from repro.worlds.mini.data import TRAIN_SEEDS
from repro.worlds.mini.scene_score import SceneScore
from repro.worlds.mini.scenes import sample_scene
from repro.worlds.mini.world import MiniWorld
from swd.backbones import denoiser_of
from swd.interrupts import ended_by_ctrl_c
from swd.training import DistillConfig, train

BATCH = 50
RESULT = Path(__file__).parent / "weights" / "tuning.json"
SHOWN = {"scene_score": "Scene score", "contour_error": "Contour error, px", "colour_error": "Colour error, levels"}
RATES = (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3)
COUNTS = (25, 50)
JUDGED_AFTER = 50
"""Iterations after which rates are compared."""
GAIN = 0.0033
"""A third of the scene score's margin: doubling the iterations must gain as much to be worth it."""
Trial = dict[str, Any]


def at_rate(profile: Profile, lr: float) -> Profile:
    """The profile with one learning rate for student and fake model of both kinds."""
    rates = {"lr": lr, "lr_fake": lr}
    return replace(profile, distil=Distil(common=DISTIL.common, scalewise=rates, fullscale=rates))


def score(row: Row, adapter: Path, images: int) -> EvaluationResult:
    """Scene score of a student's images for captions that no training image has the seed of."""
    pipeline = load_pipeline(ROOT / PROFILE.weights.pipeline, EXECUTION.dtype, torch.device("cpu"))
    generate = generator_of(resolve(PROFILE, row).sample, pipeline, adapter)
    scenes = [sample_scene(seed) for seed in _seeds(images)]
    prompts = [{"caption": scene.caption, "kind": scene.kind, "seed": scene.seed} for scene in scenes]
    shards = [prompts[start : start + BATCH] for start in range(0, images, BATCH)]
    return evaluate(((generate(part), part) for part in shards), [SceneScore()])


def training(row: Row, lr: float, iterations: int) -> DistillConfig:
    """How a row is distilled at a rate."""
    return replace(resolve(at_rate(PROFILE, lr), row, PROFILE.seeds[0]).training, iterations=iterations)


def identity(row: Row, lr: float, images: int) -> str:
    """What a trial follows from besides its iterations: the other options of the training, the pipeline, the images."""
    known = training(row, lr, 1).identity()
    options = {name: value for name, value in known.items() if name != "iterations"}
    pipeline = digest_folder(ROOT / PROFILE.weights.pipeline)
    return digest_json({"training": options, "pipeline": pipeline, "images": images})


def distilled(row: Row, lr: float, iterations: int, work: Path) -> Path:
    """The adapter of a row after so many iterations at a rate; goes on from fewer in the same folder."""
    world = MiniWorld(at_rate(PROFILE, lr), ROOT)
    config = training(row, lr, iterations)
    pipeline = load_pipeline(ROOT / PROFILE.weights.pipeline, "float32", torch.device("cpu"))
    store = StageStore.stamped(ROOT / "results" / "stages")
    cache = latent_cache(store, world, TABLE.rows, pipeline, digest_folder(ROOT / PROFILE.weights.pipeline))
    accelerator = lone_accelerator(torch.device("cpu"), config.mixed_precision)
    how: dict[str, Any] = {"accelerator": accelerator, "state_minutes": STATE_MINUTES}
    with stoppable() as stop:
        result = train(config, denoiser_of(pipeline), cache, work / f"{row.key}-{lr:g}", stop=stop, **how)
    return result.adapter


def trial(row: Row, lr: float, iterations: int, images: int, work: Path) -> Trial:
    """What a rate gives after so many iterations: the estimates, and the scene score of every image."""
    result = score(row, distilled(row, lr, iterations, work), images)
    values = {key: [found.value, found.ci_low, found.ci_high] for key, found in result.values.items()}
    per_image = [round(float(value), 4) for value in result.per_image["scene_score"]]
    known = {"row": row.key, "lr": lr, "iterations": iterations, "identity": identity(row, lr, images)}
    return {**known, **values, "scene_scores": per_image}


def tried(result: Path = RESULT) -> list[Trial]:
    """What was found so far, by whichever process."""
    return json.loads(result.read_text()) if result.exists() else []


def is_known(row: Row, lr: float, iterations: int, images: int, trials: Sequence[Trial]) -> bool:
    """Whether this very trial is among those found: with other options, weights or images it is another."""
    wanted = (row.key, lr, iterations, identity(row, lr, images))
    return any((one["row"], one["lr"], one["iterations"], one.get("identity")) == wanted for one in trials)


def keep(found: Trial, result: Path = RESULT) -> None:
    """Add a trial to the file, in place of one of the same row, rate and count; processes take turns."""
    lock = ROOT / "results" / "tuning.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        key = ("row", "lr", "iterations")
        others = [one for one in tried(result) if any(one[name] != found[name] for name in key)]
        write_atomic(result, json.dumps([*others, found]) + "\n")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the rules choose.

    Attributes:
        rates: row -> learning rate.
        gains: count -> row -> scene score that doubling it gains at that rate; only where both counts were tried.
        iterations: the smallest count from which doubling gains less than ``GAIN`` in every row; None where that was
            not tried in all of them.
    """

    rates: Mapping[str, float]
    gains: Mapping[int, Mapping[str, float]]

    @property
    def iterations(self) -> int | None:
        """By the rule of lengths."""
        for count, of_row in sorted(self.gains.items()):
            if len(of_row) == len(self.rates) and max(of_row.values()) < GAIN:
                return count
        return None


def chosen(trials: Sequence[Trial]) -> Chosen:
    """Rates and length by the written rules, of the rows that were tried.

    Raises:
        ValueError: a row was not tried for as many iterations as rates are compared after.
    """
    scores = {(one["row"], one["lr"], one["iterations"]): np.array(one["scene_scores"]) for one in trials}
    rates = {row: _rate(row, scores) for row in sorted({one["row"] for one in trials})}
    gains: dict[int, dict[str, float]] = {}
    for (row, lr, count), values in scores.items():
        if lr == rates[row] and (twice := scores.get((row, lr, 2 * count))) is not None:
            gains.setdefault(count, {})[row] = float(twice.mean() - values.mean())
    return Chosen(rates, gains)


def _rate(row: str, scores: Mapping[tuple[str, float, int], np.ndarray]) -> float:
    """The best rate of a row; of those within a standard error of it, over captions, the lowest."""
    found = {lr: values for (name, lr, count), values in scores.items() if (name, count) == (row, JUDGED_AFTER)}
    if not found:
        raise ValueError(f"{row} was not tried for {JUDGED_AFTER} iterations")
    best = max(found.values(), key=lambda values: float(values.mean()))
    captions = np.unique([sample_scene(seed).caption for seed in _seeds(len(best))], return_inverse=True)[1]
    for lr, values in sorted(found.items()):
        lost = best - values
        if float(lost.mean()) <= (clustered_error(lost, captions) or 0.0):
            return lr
    raise AssertionError("the best rate is within an error of itself")


def _seeds(images: int) -> Sequence[int]:
    """Of scenes that no training image shows."""
    return TRAIN_SEEDS[TRAIN_SCENES : TRAIN_SCENES + images]


def draw(trials: Sequence[Mapping[str, Any]], figure: Path) -> None:
    """Each metric against iterations, a line for every row and rate."""
    rows = sorted({found["row"] for found in trials})
    rates = sorted({found["lr"] for found in trials})
    colours = dict(zip(rates, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(rates))), strict=True))
    drawing, axes = plt.subplots(
        len(rows), len(SHOWN), figsize=(3.4 * len(SHOWN), 2.4 * len(rows)), layout="constrained", squeeze=False
    )
    for line, row in zip(axes, rows, strict=True):
        for axis, (key, label) in zip(line, SHOWN.items(), strict=True):
            for lr in rates:
                found = sorted((one["iterations"], *one[key]) for one in trials if (one["row"], one["lr"]) == (row, lr))
                if not found:
                    continue
                counts, values, lows, highs = zip(*found, strict=True)
                errors = [
                    [v - low for v, low in zip(values, lows, strict=True)],
                    [high - v for v, high in zip(values, highs, strict=True)],
                ]
                axis.errorbar(counts, values, errors, color=colours[lr], lw=1, marker="o", ms=3, capsize=2)
            axis.set_title(f"{TABLE.row(row).label}, {row[-1]} steps", fontsize=9)
            axis.set_ylabel(label, fontsize=8)
            axis.set_xlabel("Iterations", fontsize=8)
            axis.tick_params(labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=colour, marker="o", ms=3, lw=1, label=f"{lr:g}") for lr, colour in colours.items()]
    drawing.legend(
        handles=handles, title="Learning rate", title_fontsize=8, fontsize=8, frameon=False, loc="outside right upper"
    )
    drawing.savefig(figure, dpi=100, metadata={"Software": None})
    plt.close(drawing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what was not tried yet, print a line for each row, rate and count, and keep all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m repro.worlds.mini.tune", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", nargs="+", default=["scalewise_4", "fullscale_4"], help="rows of Table 2")
    parser.add_argument("--lr", nargs="+", type=float, default=list(RATES), help="learning rates")
    parser.add_argument("--iterations", nargs="+", type=int, default=list(COUNTS), help="counts to score after, rising")
    parser.add_argument("--images", type=int, default=300, help="images of each student")
    parser.add_argument("--work", type=Path, default=ROOT / "results" / "tuning", help="folder of the trainings")
    options = parser.parse_args(arguments)
    asked = [(row, lr, count) for lr in options.lr for row in options.rows for count in sorted(options.iterations)]
    for row, lr, count in asked:
        if not is_known(TABLE.row(row), lr, count, options.images, tried()):
            found = trial(TABLE.row(row), lr, count, options.images, options.work)
            print(row, f"{lr:g}", count, *(f"{found[key][0]:.4f}" for key in SHOWN), flush=True)
            keep(found)
    draw(tried(), RESULT.with_suffix(".png"))
    print(chosen(tried()))
    return 0


if __name__ == "__main__":
    with ended_by_ctrl_c():
        sys.exit(main())
