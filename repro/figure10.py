"""Figure 10: samples of the student, many prompts, beside the teacher."""

from repro.harness.experiment import Row
from repro.kinds.gallery.declare import NOT_RECOVERED, Choice, Gallery

FIGURE = Gallery(
    key="figure10",
    title="Figure 10: samples of the student, many prompts",
    question="What does the scale-wise student draw for many prompts?",
    rows=(
        Row("teacher", "Teacher"),
        Row("scalewise_6", "Scale-wise,\n6 steps", train={"schedule": "6"}),
        Row("scalewise_4", "Scale-wise,\n4 steps", train={"schedule": "4"}),
    ),
    prompts="MJHQ",
    choice=Choice(count=12, seed=10),
    notes=NOT_RECOVERED,
)
