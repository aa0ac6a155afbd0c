"""Figure 3: the sampling of one image by the scale-wise student, from the tensors of every step."""

from repro.harness.experiment import Row
from repro.kinds.method.declare import SamplingFigure

FIGURE = SamplingFigure(
    key="figure3",
    title="Figure 3: sampling along the scales",
    question="What does a scale-wise student start from at every scale, and what does it predict there?",
    row=Row("scalewise_6", "Scale-wise, 6 steps", train={"schedule": "6"}),
    prompts="compositional",
    notes=(
        "Latents are shown as the VAE decodes them, the noised ones too: a decoded mixture of image and noise is no "
        "image, but it is what there is to see. Pixels are drawn as squares, and sizes are true to scale.",
        "The image is the first prompt of its set, with the seed that tables sample it from. `--image N` and "
        "`--prompts SET` show others, in another `--out`.",
    ),
)
