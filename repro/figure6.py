"""Figure 6: samples of scale-wise and full-scale students and of their teacher, for the same prompts and seeds."""

from repro.harness.experiment import Row
from repro.kinds.gallery.declare import NOT_RECOVERED, Choice, Gallery

FIGURE = Gallery(
    key="figure6",
    title="Figure 6: samples, scale-wise and full-scale",
    question="What do scale-wise and full-scale students draw where their teacher has the same prompt and seed?",
    rows=(
        Row("teacher", "Teacher"),
        Row("scalewise_6", "Scale-wise,\n6 steps", train={"schedule": "6"}),
        Row("scalewise_4", "Scale-wise,\n4 steps", train={"schedule": "4"}),
        Row("fullscale_6", "Full-scale,\n6 steps", train={"schedule": "full-6"}),
        Row("fullscale_4", "Full-scale,\n4 steps", train={"schedule": "full-4"}),
        Row("fullscale_2", "Full-scale,\n2 steps", train={"schedule": "full-2"}),
    ),
    prompts="MJHQ",
    choice=Choice(count=8),
    notes=NOT_RECOVERED,
)
