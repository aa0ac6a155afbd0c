"""`python -m repro.worlds.mini.tune`: short distillations at several rates, judged on captions of the training range.

It is there to choose the rates in `repro/profiles/mini.py`, one for each kind of student. What the tables are measured
on is never looked at.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from repro.harness.experiment import Row
from repro.harness.files import ROOT
from repro.harness.plan import resolve
from repro.harness.profile import Distil, Profile
from repro.harness.provenance import git_stamp
from repro.metrics import EvaluationResult, evaluate
from repro.profiles.mini import DISTIL, EXECUTION, PROFILE
from repro.stages.images import generator_of, load_pipeline
from repro.stages.store import StageStore
from repro.stages.students import distil
from repro.table2 import TABLE
from repro.worlds.mini.build import TRAIN_SCENES
from repro.worlds.mini.data import TRAIN_SEEDS
from repro.worlds.mini.scenes import sample_scene
from repro.worlds.mini.world import MiniWorld

BATCH = 50


def at_rate(profile: Profile, lr: float, iterations: int) -> Profile:
    """The profile with one learning rate for student and fake model of both kinds."""
    rates = {"lr": lr, "lr_fake": lr}
    common = {**DISTIL.common, "iterations": iterations}
    return replace(profile, distil=Distil(common=common, scalewise=rates, fullscale=rates))


def score(row: Row, adapter: Path | None, images: int) -> EvaluationResult:
    """Scene accuracy and mini-CLIP score on captions that no training image has the seed of."""
    device = torch.device("cpu")
    pipeline = load_pipeline(ROOT / PROFILE.weights.pipeline, EXECUTION.dtype, device)
    generate = generator_of(resolve(PROFILE, row).sample, pipeline, adapter)
    scenes = [sample_scene(seed) for seed in TRAIN_SEEDS[TRAIN_SCENES : TRAIN_SCENES + images]]
    prompts = [{"caption": scene.caption, "kind": scene.kind, "seed": scene.seed} for scene in scenes]
    shards = [prompts[start : start + BATCH] for start in range(0, images, BATCH)]
    metrics = MiniWorld(PROFILE, ROOT).per_image_metrics(device)
    return evaluate(((generate(part), part) for part in shards), metrics)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each row and rate. Finished distillations are not repeated."""
    parser = argparse.ArgumentParser(
        prog="python -m repro.worlds.mini.tune", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", nargs="+", default=["scalewise_4", "fullscale_4"], help="rows of Table 2")
    parser.add_argument("--lr", nargs="+", type=float, default=[1e-4, 2e-4, 4e-4], help="learning rates")
    parser.add_argument("--iterations", type=int, default=125, help="of each distillation")
    parser.add_argument("--images", type=int, default=300, help="images of each student")
    options = parser.parse_args(arguments)
    store, device = StageStore(ROOT / "results" / "stages", stamp=git_stamp(ROOT)), torch.device("cpu")
    print(f"{'row':<12} {'rate':>8} {'scene accuracy':>24} {'mini-CLIP':>22}")
    for row in map(TABLE.row, options.rows):
        for lr in options.lr:
            world = MiniWorld(at_rate(PROFILE, lr, options.iterations), ROOT)
            adapter = distil(store, world, row, seed=PROFILE.seeds[0], rows=TABLE.rows, device=device)
            values = score(row, adapter, options.images).values
            accuracy, clip = values["scene_accuracy"], values["mini_clip"]
            print(
                f"{row.key:<12} {lr:>8.0e} {accuracy.value:>8.3f} [{accuracy.ci_low:.3f}, {accuracy.ci_high:.3f}]"
                f" {clip.value:>8.3f} [{clip.ci_low:.3f}, {clip.ci_high:.3f}]",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
