"""Figure 7: preference for SwD over other models."""

from repro.kinds.preference.declare import Pair, PreferenceFigure

MINI = ("mini", "smoke")
REAL = ("sd35-medium", "sd35-large", "sdxl", "flux")  # those in which Table 4 has the published systems
SWD = "SwD Medium, 6 steps"


def published(baseline: str, label: str) -> Pair:
    """A pair of the paper's figure: key of Table 4's row, and its name there."""
    return Pair("swd_medium_6", baseline, REAL, {"swd_model": "SwD Medium", "baseline": label})


def trained(baseline: str) -> Pair:
    """A pair of the mini world, whose others are trained there."""
    return Pair("scalewise_4", baseline, MINI)


FIGURE = PreferenceFigure(
    key="figure7",
    title="Figure 7: preference, SwD against other models",
    question="Do people prefer images of SwD to those of its teacher and of other fast models?",
    systems={
        "swd_medium_6": SWD,
        "sdxl": "SDXL",
        "sd35_medium": "SD3.5 Medium",
        "sdxl_turbo": "SDXL-Turbo",
        "dmd2_sdxl": "DMD2-SDXL",
        "infinity": "Infinity",
        "switti": "Switti",
        "scalewise_4": "SwD, 4 steps",
        "teacher": "Teacher",
        "teacher_4": "Teacher, 4 steps",
        "lcm_4": "LCM, 4 steps",
        "dmd2_4": "DMD2, 4 steps",
        "fullscale_4": "DMD2 + PDM, 4 steps",
    },
    pairs=(
        published("sdxl", "SDXL"),
        published("sd35_medium", "SD3.5 Medium"),
        published("sdxl_turbo", "SDXL-Turbo"),
        published("dmd2_sdxl", "DMD2-SDXL"),
        published("infinity", "Infinity"),
        published("switti", "Switti"),
        trained("teacher"),
        trained("teacher_4"),
        trained("lcm_4"),
        trained("dmd2_4"),
        trained("fullscale_4"),
    ),
    source="table4",
    reported="fig7_human_win_rates.csv",
    reported_label=(
        "the project page of March 2025, read off its figure to within 0.3 of a per cent; how many steps its SwD "
        "Medium takes is not said"
    ),
    notes=(
        "In the mini world the systems are those of Table 4: LCM, DMD2 and DMD2 + PDM are students of the same "
        "teacher, trained alike.",
    ),
)
