"""Figure 8: samples of SwD beside other ways to few steps, for the same prompts and seeds."""

from repro.harness.experiment import Row
from repro.kinds.gallery.declare import NOT_RECOVERED, Choice, Gallery

MINI = ("mini", "smoke")
REAL = ("sd35-medium", "sd35-large", "sdxl", "flux")  # those in which Table 4 has the published systems

FIGURE = Gallery(
    key="figure8",
    title="Figure 8: samples, SwD and other models",
    question="What does SwD draw beside other few-step models?",
    rows=(
        Row("teacher", "Teacher", profiles=MINI),
        Row("teacher_4", "Teacher,\n4 steps", sample={"steps": 4}, profiles=MINI),
        Row("lcm_4", "LCM,\n4 steps", train={"schedule": "full-4", "objective": "consistency"}, profiles=MINI),
        Row("dmd2_4", "DMD2,\n4 steps", train={"schedule": "full-4", "weight_pdm": 0.0}, profiles=MINI),
        Row("scalewise_4", "SwD,\n4 steps", train={"schedule": "4"}, profiles=MINI),
        Row("sd35_medium", "SD3.5\nMedium", images=True, profiles=REAL),
        Row("sdxl_turbo", "SDXL-Turbo", images=True, profiles=REAL),
        Row("dmd2_sdxl", "DMD2-SDXL", images=True, profiles=REAL),
        Row("infinity", "Infinity", images=True, profiles=REAL),
        Row("switti", "Switti", images=True, profiles=REAL),
        Row("swd_medium_6", "SwD\nMedium", images=True, profiles=REAL),
    ),
    prompts="MJHQ",
    choice=Choice(count=8, seed=8),
    notes=NOT_RECOVERED,
)
