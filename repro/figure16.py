"""Figure 16: the assessor's interface, the question about complexity."""

from repro.kinds.interface.declare import InterfaceFigure

FIGURE = InterfaceFigure(
    key="figure16",
    title="Figure 16: the assessor's interface, complexity",
    question="What does an assessor see who judges complexity?",
    criterion="complexity",
)
