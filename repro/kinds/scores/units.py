"""A table of scores as units for a queue: a row and a training seed each, from the training to the scores."""

import time
from collections.abc import Iterator
from typing import Any

from repro.harness.experiment import Row
from repro.harness.files import ROOT, digest_folder, digest_json
from repro.harness.plan import network_folder, resolve
from repro.harness.profile import Profile
from repro.harness.provenance import versions
from repro.harness.units import Spent, Unit
from repro.kinds.scores.counts import network_cost, training_flops
from repro.kinds.scores.declare import Table
from repro.kinds.scores.measure import Runner
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.sources import Studio
from repro.stages.failures import told
from repro.stages.images import VERSION as IMAGES_VERSION
from repro.stages.scores import VERSION as SCORES_VERSION
from repro.stages.students import StudentDiverged, is_trained, student_inputs
from swd.training import DistillConfig

STAGE, COUNTS, VERSION = "units", "unit-flops", 1


def units(table: Table, profile: Profile, options: ScoresOptions) -> Iterator[Unit]:
    """Every row with every training seed of it; nothing is loaded before one is done.

    Args:
        table: its rows.
        profile: in which they are measured.
        options: of the command; students are distilled where it says so.

    Raises:
        ExperimentError: a student cannot be distilled.
    """
    runner = Runner(table, profile, options)
    runner.check_trainings()
    shared = {
        "version": VERSION,
        "stages": {"images": IMAGES_VERSION, "scores": SCORES_VERSION},
        "retrained": options.retrain,
        "pipeline": runner.pipeline_digest,
        "prompts": {prompts.key: digest_json(runner.world.prompts(prompts.key)) for prompts in profile.prompt_sets},
        "metrics": runner.world.metric_inputs(),
        "world": runner.world.fingerprint(),
        "versions": versions(),
        "device": runner.device.type,
    }
    for row, seed in runner.asked:
        if row.is_student or seed == options.seeds[0]:
            yield _unit(runner, row, seed, {**shared, **_own(runner, row, seed)})


def _unit(runner: Runner, row: Row, seed: int, inputs: dict[str, Any]) -> Unit:
    key = digest_json(inputs)
    trains = row.is_student and runner.options.retrain
    plan = None if row.real else resolve(runner.profile, row, seed)
    images = runner.profile.images_per_set * len(runner.profile.prompt_sets)
    flops = 0.0 if plan is None else float(images * network_cost(plan.sample, runner.skeleton).network_flops)
    of_training = _training_flops(runner, plan.training) if plan is not None and trains else 0.0

    def do() -> None:
        begun = time.monotonic()
        new = trains and not is_trained(runner.store, runner.world, row, seed, runner.device)
        with told(runner.options.work):
            try:
                source = Studio(runner, runner.options, runner.rows).source(row, seed)
            except StudentDiverged:
                new = False  # a result too, which the table shows
            else:
                for prompts, images in runner.images(source).items():
                    runner.scoring.scores(prompts, images)
            spent = {"flops": flops + of_training, "seconds": time.monotonic() - begun} if new else {}
            runner.store.finish(STAGE, inputs, spent)

    def spent() -> Spent | None:
        found = runner.store.result(STAGE, inputs) if runner.store.finished(STAGE, inputs) else {}
        return Spent(found["flops"], found["seconds"]) if "seconds" in found else None

    return Unit(
        name=key[:32],
        label=f"{row.label}, seed {seed}" if row.is_student else row.label,
        flops=flops,
        training_flops=of_training,
        student=digest_json(inputs["student"])[:32] if trains else "",
        done=lambda: runner.store.marked(STAGE, key),
        do=do,
        spent=spent,
    )


def _training_flops(runner: Runner, config: DistillConfig) -> float:
    """Of a training, counted once: to count takes seconds, and every process of a queue asks."""
    inputs = {"version": VERSION, "config": config.as_json(), "pipeline": runner.pipeline_digest}
    if not runner.store.finished(COUNTS, inputs):
        runner.store.finish(COUNTS, inputs, {"flops": training_flops(config, runner.skeleton)})
    return float(runner.store.result(COUNTS, inputs)["flops"])


def _own(runner: Runner, row: Row, seed: int) -> dict[str, Any]:
    """What a row follows from; what this leaves out, the table itself looks at."""
    student = student_inputs(runner.world, row, seed, runner.device) if row.is_student else None
    return {
        "row": row.real or (None if student else row.key),
        "student": student,
        "sampling": None if row.real else resolve(runner.profile, row, seed).sample.as_json(),
        **({"share": row.share} if row.real and row.share < 1 else {}),
        **({"network": digest_folder(ROOT / network_folder(runner.profile, row))} if row.network else {}),
    }
