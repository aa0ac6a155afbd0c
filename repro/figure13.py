"""Figure 13: the assessor's interface, the question about relevance."""

from repro.kinds.interface.declare import InterfaceFigure

FIGURE = InterfaceFigure(
    key="figure13",
    title="Figure 13: the assessor's interface, relevance",
    question="What does an assessor see who judges relevance?",
    criterion="relevance",
)
