"""Training dynamics: quality while students are distilled, with PDM and without, and losses by scale."""

from itertools import chain

from repro import _ablations as ablations
from repro.harness.experiment import Row
from repro.kinds.scores.declare import Table, TrainingCurve, real_rows

COUNTS = {"mini": (10, 25, 50, 100), "smoke": (1, 3)}
LINES = (ablations.FULL, ablations.NO_PDM, ablations.PDM_ONLY, ablations.NAIVE)
UNTRAINED = Row("untrained", "Before training", sample={"schedule": "6", "guidance_scale": 1.0})


def _after(row: Row) -> tuple[Row, ...]:
    """A variant after every count of iterations."""
    return tuple(
        Row(
            f"{row.key}_{count}",
            f"{row.label}, {count} iterations",
            train={**(row.train or {}), "iterations": count},
            profiles=(profile,),
        )
        for profile, counts in COUNTS.items()
        for count in counts
    )


AFTER = {row.key: _after(row) for row in LINES}

TABLE = Table(
    key="training_dynamics",
    title="Training dynamics",
    question="How does quality grow while a student is distilled, and what does PDM change in that?",
    rows=(*real_rows("Real scenes", *ablations.MINI), Row("teacher", "Teacher"), UNTRAINED, *chain(*AFTER.values())),
    training_curves=tuple(
        TrainingCurve(label=row.label, rows=(UNTRAINED.key, *(after.key for after in AFTER[row.key]))) for row in LINES
    ),
    seeds=ablations.FEW_SEEDS,
    details=False,
    prompts="MJHQ",
    notes=(
        "A training of fewer iterations is the beginning of one of more: same initial weights, images and noise, and a "
        "rate that does not depend on their number. *Before training* is the teacher on the schedule of the students, "
        "without guidance. Every student is the running average of its weights (decay 0.98), of which after 10, 25, "
        "50 and 100 iterations 82, 60, 36 and 13 % are still the start's. Seconds are iterations of each scale times "
        "their median.",
    ),
)
