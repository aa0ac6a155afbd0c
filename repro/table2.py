"""Table 2: students distilled scale-wise against students at full scale, at equal steps and at equal compute."""

from repro.harness.experiment import Column, Reported, Row
from repro.kinds.scores.declare import Claim, Table, at_least, not_worse

EQUAL_COST = (
    "Scale-wise at 4 steps is at least as good as full-scale at 2, which costs about the same (9 % fewer tokens)"
)
SOURCE = "v1, Table 2"
EQUAL_STEPS = "Scale-wise at 6 steps is not worse than full-scale at 6 by more than its interval"


def scalewise(steps: int) -> Row:
    """A student whose scale grows over its steps."""
    reported = {"setup": "Scale-wise", "steps": str(steps)}
    return Row(f"scalewise_{steps}", "Scale-wise", train={"schedule": str(steps)}, reported=reported)


def fullscale(steps: int) -> Row:
    """A student at the final scale throughout."""
    reported = {"setup": "Full-scale", "steps": str(steps)}
    return Row(f"fullscale_{steps}", "Full-scale", train={"schedule": f"full-{steps}"}, reported=reported)


TABLE = Table(
    key="table2",
    title="Table 2: scale-wise against full-scale students",
    question="Can a few-step student start small and grow, and still match one that works at full scale throughout?",
    rows=(Row("teacher", "Teacher"), scalewise(6), scalewise(4), fullscale(6), fullscale(4), fullscale(2)),
    claims=(
        Claim(
            "equal_cost_accuracy", EQUAL_COST, at_least("prompt_alignment", "scalewise_4", "fullscale_2"), source=SOURCE
        ),
        Claim("equal_cost_clip", EQUAL_COST, at_least("text_similarity", "scalewise_4", "fullscale_2"), source=SOURCE),
        Claim(
            "equal_steps_accuracy",
            EQUAL_STEPS,
            not_worse("prompt_alignment", "scalewise_6", "fullscale_6"),
            source=SOURCE,
        ),
        Claim(
            "equal_steps_clip", EQUAL_STEPS, not_worse("text_similarity", "scalewise_6", "fullscale_6"), source=SOURCE
        ),
        Claim(
            "fewer_steps_accuracy",
            "Scale-wise at 4 steps is not worse than scale-wise at 6",
            not_worse("prompt_alignment", "scalewise_4", "scalewise_6"),
            source=SOURCE,
        ),
        Claim(
            "teacher_accuracy",
            "Scale-wise at 4 steps is not worse than its teacher",
            not_worse("prompt_alignment", "scalewise_4", "teacher"),
            source="project page, March 2025: comparison with open models",
        ),
    ),
    reported=Reported(
        csv="table2_scalewise_vs_fullscale.csv",
        label="SD3.5 Medium, Table 2 of arXiv 2503.16397v1",
        match={"source": "v1", "model": "SD3.5 Medium"},
        columns=(
            Column("pickscore", "PS", better="higher", digits=3),
            Column("clipscore", "CS", better="higher", digits=3),
            Column("image_reward", "IR", better="higher", digits=2),
            Column("fid", "FID", better="lower", digits=1),
        ),
        missing="The paper's Table 2 has no teacher row.",
    ),
)
