"""Figure 12: two prompts with six seeds of each, beside the teacher."""

from repro.harness.experiment import Row
from repro.kinds.gallery.declare import NOT_RECOVERED, Choice, Gallery

FIGURE = Gallery(
    key="figure12",
    title="Figure 12: two prompts, six seeds of each",
    question="How much do images of one prompt differ from each other, by student and teacher?",
    rows=(
        Row("teacher", "Teacher"),
        Row("scalewise_6", "Scale-wise,\n6 steps", train={"schedule": "6"}),
        Row("scalewise_4", "Scale-wise,\n4 steps", train={"schedule": "4"}),
    ),
    prompts="MJHQ",
    choice=Choice(count=2, seed=12),
    seeds=6,
    notes=NOT_RECOVERED,
)
