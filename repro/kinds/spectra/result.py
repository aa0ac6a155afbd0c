"""What was measured for a figure of spectra."""

from pathlib import Path

from repro.harness.experiment import Column
from repro.harness.records import load
from repro.harness.result import Measured
from repro.harness.schema import Curve
from repro.kinds.spectra import keys
from repro.kinds.spectra.calibration import Calibrated, calibrate
from repro.kinds.spectra.declare import Panel, SpectraFigure


class SpectraResult(Measured[SpectraFigure]):
    """Spectra of the panels. No claims: this figure explains, its table is the measurement."""

    @property
    def measured(self) -> list[tuple[Panel, Curve]]:
        """Panels that this run had images for, each with its clean spectrum."""
        found = ((panel, self.curve(panel.key, keys.CLEAN)) for panel in self.experiment.panels)
        return [(panel, clean) for panel, clean in found if clean is not None]

    @property
    def distance(self) -> Column | None:
        """The profile's metric of distributions, in which losses are measured."""
        return next((column for column in self.profile.columns if column.role == "distribution"), None)

    def calibrated(self, folder: Path) -> Calibrated | None:
        """The margin by the records of another table in a results folder; None where it has none of this profile.

        Raises:
            RecordError: they cannot be read.
        """
        declared, metric = self.experiment.calibration, self.distance
        if declared is None or metric is None or self.profile.teacher.process != "flow":
            return None
        path = folder / "records" / f"{self.profile.stem(declared.table)}.jsonl"
        clean = self.curve(declared.panel, keys.CLEAN)
        return calibrate(declared, clean, load(path), metric) if clean and path.exists() else None


def side_of(clean: Curve) -> int:
    """The side whose rings these are: whole rings end at its Nyquist frequency, one every 1 / side."""
    return round(1 / (clean.x[1] - clean.x[0]))
