"""Figure 14: the assessor's interface, the question about defects."""

from repro.kinds.interface.declare import InterfaceFigure

FIGURE = InterfaceFigure(
    key="figure14",
    title="Figure 14: the assessor's interface, defects",
    question="What does an assessor see who judges defects?",
    criterion="defects",
)
