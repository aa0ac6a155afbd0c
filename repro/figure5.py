"""Figure 5: preference for scale-wise students over their teacher and full-scale students."""

from repro.kinds.preference.declare import Pair, PreferenceFigure

FIGURE = PreferenceFigure(
    key="figure5",
    title="Figure 5: preference, scale-wise against teacher and full-scale students",
    question="Do people prefer images of scale-wise students to those of the teacher and of full-scale students?",
    systems={
        "teacher": "Teacher",
        "scalewise_4": "Scale-wise, 4 steps",
        "scalewise_6": "Scale-wise, 6 steps",
        "fullscale_2": "Full-scale, 2 steps",
        "fullscale_4": "Full-scale, 4 steps",
        "fullscale_6": "Full-scale, 6 steps",
    },
    pairs=(
        Pair("scalewise_6", "teacher"),
        Pair("scalewise_4", "teacher"),
        Pair("scalewise_6", "fullscale_6"),
        Pair("scalewise_4", "fullscale_4"),
        Pair("scalewise_4", "fullscale_2"),
        Pair("scalewise_4", "fullscale_6"),
    ),
    source="table2",
    not_recovered=(
        "Which pairs the paper's Figure 5 shows, and its shares, could not be recovered: the pairs here are those that "
        "Table 2's claims compare, at equal steps, at equal cost, and with the teacher."
    ),
)
