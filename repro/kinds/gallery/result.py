"""What a grid of samples shows."""

from typing import Any

from repro.harness.result import Measured
from repro.kinds.gallery.declare import Gallery


class GalleryResult(Measured[Gallery]):
    """Systems and prompts of the picture."""

    @property
    def shown(self) -> dict[str, Any]:
        """Set of prompts, its size, the columns (id, caption, seed), and the rows (key, label, where from)."""
        found: dict[str, Any] = self.records.runs[0].config["shown"]
        return found
