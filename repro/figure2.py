"""Figure 2: one training step of the scale-wise student, from the tensors of a real one."""

from repro.harness.experiment import Row
from repro.kinds.method.declare import TrainingFigure

FIGURE = TrainingFigure(
    key="figure2",
    title="Figure 2: one training step",
    question="What does a student see in a training step, what does it predict, and what is that matched with?",
    row=Row("scalewise_6", "Scale-wise, 6 steps", train={"schedule": "6"}),
    step=4,
    cycles=2,
    images=288,
    notes=(
        "Latents are shown as the VAE decodes them, the noised ones too: a decoded mixture of image and noise is no "
        "image, but it is what there is to see. Pixels are drawn as squares. In the two upper rows a "
        "latent is as large as its side, and the image as the side of the step.",
        "Which step, image and iteration are shown was fixed before the pictures were seen: the step of the schedule "
        "whose scale is the last but one, and the first image of the batch. `--step N` and `--image N` show others, in "
        "another `--out`.",
    ),
)
