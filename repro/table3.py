"""Table 3: seconds per image and per training iteration, and what the arithmetic says of them."""

from repro.harness.experiment import Row
from repro.harness.scope import NOT_IN_PAPER
from repro.kinds.latency.declare import LatencyTable, Protocol, SpeedClaim, TimedRow


def student(kind: str, steps: int) -> TimedRow:
    """A student, timed with the schedule it samples on."""
    scalewise = kind == "Scale-wise"
    name = kind.lower().replace("-", "")
    row = Row(
        f"{name}_{steps}",
        kind,
        train={"schedule": str(steps) if scalewise else f"full-{steps}"},
        reported={"setup": kind, "steps": str(steps)},
    )
    return TimedRow(row, baseline=f"fullscale_{steps}" if scalewise else "")


# "Approaches" is no "at least as fast as", and "about half the time" no "half". A tenth is the share that margins of
# this project have of what they are margins of. It was set when the times of the mini world were known:
# docs/decisions/verdicts.md.
NEAR = 0.1

TABLE = LatencyTable(
    key="table3",
    title="Table 3: latency and training time",
    question="How much faster is a scale-wise student, and how far is that from what the arithmetic allows?",
    rows=(
        student("Scale-wise", 6),
        student("Scale-wise", 4),
        student("Full-scale", 6),
        student("Full-scale", 4),
        student("Full-scale", 2),
        TimedRow(
            Row(
                "teacher",
                "Teacher, no guidance",
                sample={"guidance_scale": 1.0},
                reported={"setup": "Teacher", "steps": "28"},
            )
        ),
        TimedRow(Row("teacher_guided", "Teacher, guidance")),
    ),
    claims=(
        SpeedClaim(
            key="six_steps_twice",
            statement="twice_as_fast",
            text="Scale-wise at 6 steps is at least twice as fast as full-scale at 6",
            fast="scalewise_6",
            slow="fullscale_6",
            factor=2.0,
        ),
        SpeedClaim(
            key="four_steps_as_two",
            statement="two_full_steps",
            text="Scale-wise at 4 steps approaches full-scale at 2: it is at least 0.9 times as fast",
            fast="scalewise_4",
            slow="fullscale_2",
            factor=1.0,
            margin=NEAR,
            source="v1, abstract and Table 3",
        ),
        SpeedClaim(
            key="teacher_nine_times",
            statement="nine_times",
            text="Scale-wise at 6 steps is at least 9 times as fast as its teacher without guidance",
            fast="scalewise_6",
            slow="teacher",
            factor=9.0,
        ),
        SpeedClaim(
            key="guided_teacher_nine_times",
            text="Scale-wise at 6 steps is at least 9 times as fast as its teacher with guidance, as it is used",
            fast="scalewise_6",
            slow="teacher_guided",
            factor=9.0,
            source=NOT_IN_PAPER,
            primary=False,
        ),
        SpeedClaim(
            key="train_six",
            statement="train_faster",
            text="A training iteration of scale-wise takes about half the time of one of full-scale, both at 6 steps: "
            "it is at least 1.8 times as fast",
            fast="scalewise_6",
            slow="fullscale_6",
            factor=2.0,
            margin=NEAR,
            training="full",
        ),
        SpeedClaim(
            key="train_four",
            statement="train_faster",
            text="A training iteration of scale-wise takes about half the time of one of full-scale, both at 4 steps: "
            "it is at least 1.8 times as fast",
            fast="scalewise_4",
            slow="fullscale_4",
            factor=2.0,
            margin=NEAR,
            training="full",
        ),
    ),
    times="table3_times.csv",
    train_times="table3b_train_mmd_only.csv",
    models={"sd35-medium": "SD3.5 Medium", "sd35-large": "SD3.5 Large"},
    protocols={
        "mini": Protocol(dtype="float32"),
        "smoke": Protocol(dtype="float32", batch_sizes=(1, 2), rounds=3, train_rounds=1),
        "sd35-medium": Protocol(dtype="bfloat16", train_batch=4),  # on one GPU; published students: 64 on several
        "sd35-large": Protocol(dtype="bfloat16", train_batch=4),
    },
    notes=(
        "An image is text encoding, the steps and decoding; nothing is cached. Every row is called in turn, round "
        "after round, so that a machine that drifts harms all rows alike. Students are timed as they are deployed: an "
        "adapter that is merged into the weights costs nothing, so the base network runs.",
        "*Ideal*: the ratio of FLOPs of the whole image, as `swd.cost` counts them. *Share*: measured by ideal. The "
        "peak is that of square matrix products in the same dtype, measured in the same run. Peak memory is the "
        "resident size of the whole process on a CPU, and what torch allocated on CUDA. A training iteration is "
        "the fake model's updates and the student's, on cached latents and prompts.",
    ),
)
