"""What a figure of the interface shows."""

from typing import Any

from repro.harness.result import Measured
from repro.kinds.interface.declare import InterfaceFigure


class InterfaceResult(Measured[InterfaceFigure]):
    """The question as it was asked, beside the pictures."""

    @property
    def shown(self) -> dict[str, Any]:
        """Name of the criterion, question, its parts, and the prompts of the study."""
        found: dict[str, Any] = self.records.runs[0].config["shown"]
        return found
