"""What was measured for a figure of spectra."""

from repro.harness.result import Measured
from repro.harness.schema import Curve
from repro.kinds.spectra import keys
from repro.kinds.spectra.declare import Panel, SpectraFigure


class SpectraResult(Measured[SpectraFigure]):
    """Spectra of the panels. No claims: this figure explains, its table is the measurement."""

    @property
    def measured(self) -> list[tuple[Panel, Curve]]:
        """Panels that this run had images for, each with its clean spectrum."""
        found = ((panel, self.curve(panel.key, keys.CLEAN)) for panel in self.experiment.panels)
        return [(panel, clean) for panel, clean in found if clean is not None]


def side_of(clean: Curve) -> int:
    """The side whose rings these are: whole rings end at its Nyquist frequency, one every 1 / side."""
    return round(1 / (clean.x[1] - clean.x[0]))
