"""A table of scores as units for a queue: a row and a training seed each, from the training to the scores."""

from collections.abc import Iterator
from typing import Any

from repro.harness.experiment import Row
from repro.harness.files import digest_json
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.provenance import versions
from repro.harness.units import Unit
from repro.kinds.scores.declare import Table
from repro.kinds.scores.measure import Runner
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.sources import Studio
from repro.stages.failures import told
from repro.stages.images import VERSION as IMAGES_VERSION
from repro.stages.scores import VERSION as SCORES_VERSION
from repro.stages.students import StudentDiverged, student_inputs

STAGE, VERSION = "units", 1
BACKWARD = 3  # passes of the network that a pass with its gradient is worth


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
    trains = row.is_student and runner.options.retrain

    def do() -> None:
        with told(runner.options.work):
            try:
                source = Studio(runner, runner.options, runner.rows).source(row, seed)
            except StudentDiverged:
                pass  # a result too, which the table shows
            else:
                for prompts, images in runner.images(source).items():
                    runner.scoring.scores(prompts, images)
            runner.store.finish(STAGE, inputs)

    return Unit(
        name=digest_json(inputs)[:32],
        label=f"{row.label}, seed {seed}" if row.is_student else row.label,
        tokens=_tokens(runner, row, seed, trains=trains),
        student=digest_json(inputs["student"])[:32] if trains else "",
        done=lambda: runner.store.finished(STAGE, inputs),
        do=do,
    )


def _own(runner: Runner, row: Row, seed: int) -> dict[str, Any]:
    """What a row follows from; what this leaves out, the table itself looks at."""
    student = student_inputs(runner.world, row, seed, runner.device) if row.is_student else None
    return {
        "row": row.real or (None if student else row.key),
        "student": student,
        "sampling": None if row.real else resolve(runner.profile, row, seed).sample.as_json(),
    }


def _tokens(runner: Runner, row: Row, seed: int, *, trains: bool) -> float:
    if row.real:
        return 1.0
    plan = resolve(runner.profile, row, seed)
    side = runner.profile.data.resolution
    steps = plan.sample.ladder(side)
    images = runner.profile.images_per_set * len(runner.profile.prompt_sets)
    sampled = sum(scale**2 for scale in steps.scales) * plan.sample.passes * images
    if not trains:
        return float(sampled)
    config = plan.training
    schedule = config.schedule()
    mean = sum(scale**2 for scale in schedule.scales) / schedule.num_steps
    return float(sampled + BACKWARD * mean * config.images_read)
