"""Figure 15: the assessor's interface, the question about aesthetics."""

from repro.kinds.interface.declare import InterfaceFigure

FIGURE = InterfaceFigure(
    key="figure15",
    title="Figure 15: the assessor's interface, aesthetics",
    question="What does an assessor see who judges aesthetics?",
    criterion="aesthetics",
)
