"""Figure 11: samples of the student, short prompts, beside the teacher."""

from repro.harness.experiment import Row
from repro.kinds.gallery.declare import NOT_RECOVERED, Choice, Gallery

FIGURE = Gallery(
    key="figure11",
    title="Figure 11: samples of the student, short prompts",
    question="What does the scale-wise student draw for short prompts?",
    rows=(
        Row("teacher", "Teacher"),
        Row("scalewise_6", "Scale-wise,\n6 steps", train={"schedule": "6"}),
        Row("scalewise_4", "Scale-wise,\n4 steps", train={"schedule": "4"}),
    ),
    prompts="COCO 2014",
    choice=Choice(count=12, seed=11),
    notes=NOT_RECOVERED,
)
