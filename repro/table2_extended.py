"""Table 2, extended: the undistilled teacher that grows while it samples, and students on scales from the spectrum."""

from dataclasses import replace
from typing import Any

from repro.harness.experiment import Role, Row, Variant
from repro.harness.scope import NOT_IN_PAPER
from repro.kinds.scores.declare import Claim, better, not_worse, real_rows
from repro.table2 import TABLE, Compare, fullscale, scalewise


def teacher(key: str, label: str, **sample: Any) -> Row:
    """The undistilled teacher, sampled otherwise than the profile does; its steps are those of the mini world alone."""
    return Row(key, label, sample=sample, profiles=("mini",))


def by_spectrum(steps: int) -> Row:
    """A student on the scales that Figure 1's spectrum gives at the published noise levels, for about the same cost."""
    train = {"schedule": f"spectrum-{steps}"}
    return Row(f"spectrum_{steps}", "Scale-wise, by spectrum", train=train, profiles=("mini", "smoke"))


GROWN = "The teacher that grows from half the side (57 % of the tokens) is not worse than the teacher"
GROWN_EQUAL_COST = (
    "The teacher that grows from half the side is better than the teacher at 16 steps, which costs the same"
)
TWICE_GROWN_EQUAL_COST = (
    "The teacher that grows from a quarter is better than the teacher at 14 steps, which costs the same"
)
BY_SPECTRUM = (
    "At {steps} steps, scales from the spectrum ({fewer} % fewer tokens) are not worse than the published ones"
)


def twice(key: str, text: str, compare: Compare, rows: tuple[str, str]) -> tuple[Claim, Claim]:
    """A claim in what captions say, and in how sharply it is drawn: growing could harm either alone."""
    roles: tuple[Role, Role] = ("prompt_alignment", "fidelity")
    aligned, faithful = (compare(role, *rows) for role in roles)
    return Claim(key, text, aligned, source=NOT_IN_PAPER), Claim(f"{key}_fidelity", text, faithful, source=NOT_IN_PAPER)


EXTENDED = replace(
    TABLE,
    key="table2_extended",
    variant=Variant("table2", "extended", "the teacher growing without training, and schedules from the spectrum, too"),
    title="Table 2, extended: growing without training, and schedules from the spectrum",
    question=(
        "Does the undistilled teacher profit from growing too, and are the published scales better than those that the "
        "spectrum gives?"
    ),
    rows=(
        *real_rows("Real scenes", "mini", "smoke"),
        Row("teacher", "Teacher"),
        teacher("teacher_grow_2", "Teacher, grown from 1/2", schedule="grow-2", grow="spectral"),
        teacher("teacher_grow_3", "Teacher, grown from 1/4", schedule="grow-3", grow="spectral"),
        teacher("teacher_16", "Teacher, fewer steps", steps=16),
        teacher("teacher_14", "Teacher, fewest steps", steps=14),
        scalewise(6),
        scalewise(4),
        by_spectrum(6),
        by_spectrum(4),
        fullscale(6),
        fullscale(4),
        fullscale(2),
    ),
    claims=(
        *twice("grown_teacher", GROWN, not_worse, ("teacher_grow_2", "teacher")),
        *twice("grown_teacher_equal_cost", GROWN_EQUAL_COST, better, ("teacher_grow_2", "teacher_16")),
        *twice("twice_grown_teacher_equal_cost", TWICE_GROWN_EQUAL_COST, better, ("teacher_grow_3", "teacher_14")),
        *twice("spectrum_6", BY_SPECTRUM.format(steps=6, fewer=3), not_worse, ("spectrum_6", "scalewise_6")),
        *twice("spectrum_4", BY_SPECTRUM.format(steps=4, fewer=6), not_worse, ("spectrum_4", "scalewise_4")),
    ),
    notes=(
        "Rows that grow without training are SPEED's spectral expansion (arXiv 2605.18736) on the teacher's 28 steps "
        "with its guidance. A step at a smaller side works at the noise level with the same ratio of noise to signal "
        "at every frequency, and x_t grows before noise falls below ten times the power of what the side cannot hold, "
        "by [Figure 1](figure1.md) (ten was fixed before that figure's factor of 1.58 was known, by which it would "
        "grow earlier and cost less); SPEED takes a threshold of its own and moves the timestep back where it grows. "
        "The teachers of fewer steps cost as many tokens as the grown ones (16 steps: exactly; 14: 0.4 % more).",
        "Scales by spectrum: at the published noise levels, the widest margin of noise over signal that costs no more "
        "tokens than the published scales, no side below the smallest that the teacher was trained at.",
    ),
)
