"""What was measured for a figure of spectra."""

from functools import cached_property
from pathlib import Path

import numpy as np

from repro.harness.cells import estimate
from repro.harness.claims import Compared, Comparison, Judgement, NoComparison, Verdict, fixed_margin, judge
from repro.harness.experiment import Column
from repro.harness.inference import of_replicates
from repro.harness.records import load, path_of
from repro.harness.result import Measured
from repro.harness.schema import Curve
from repro.kinds.spectra import keys
from repro.kinds.spectra.calibration import Calibrated, calibrate
from repro.kinds.spectra.declare import Panel, SpectraFigure, SpectrumClaim


class SpectraResult(Measured[SpectraFigure]):
    """Spectra of the panels, and what is claimed of them tested by a jackknife."""

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """The claims of every panel that was measured, or whose images the profile has."""
        there = {panel.key for panel, _ in self.measured}
        there |= {panel.key for panel in self.experiment.panels if panel.source in self.profile.data.sources}
        return judge((claim for claim in self.experiment.claims if claim.panel in there), self._tested)

    def _tested(self, claim: SpectrumClaim) -> Compared:
        """Compare a number of a panel with its bound."""
        column = claim.column
        margin = fixed_margin(claim.kind, column, f"claim {claim.key!r} of {self.experiment.title}")
        found = estimate(self.records.find(claim.panel, "", column.key))
        without = self.series(claim.panel, keys.without_block(column.key))
        if found is None or without is None:
            return column, NoComparison(Verdict.NOT_MEASURED, f"{claim.panel} was not measured")
        difference = column.sign * (found.value - claim.bound)
        effects = of_replicates(np.array([difference]), column.sign * np.array([without.values]), (0,), without.n)
        spread = effects.spread()
        return column, Comparison(difference=difference, spread=spread, kind=claim.kind, margin=margin, n=without.n)

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
        path = path_of(folder, self.profile.stem(declared.table))
        clean = self.curve(declared.panel, keys.CLEAN)
        return calibrate(declared, clean, load(path), metric) if clean and path.exists() else None


def side_of(clean: Curve) -> int:
    """The side whose rings these are: whole rings end at its Nyquist frequency, one every 1 / side."""
    return round(1 / (clean.x[1] - clean.x[0]))
