"""What was measured of an experiment: what pages, figures and the index are made from."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from repro.harness.agreement import Cell
from repro.harness.claims import Judgement
from repro.harness.experiment import Column, Experiment, Row
from repro.harness.profile import Profile
from repro.harness.schema import Curve, RecordSet, Series

E = TypeVar("E", bound=Experiment)


@dataclass(frozen=True)
class Measured(Generic[E]):
    """An experiment, the profile it was measured in, and its records."""

    experiment: E
    profile: Profile
    records: RecordSet

    @property
    def title(self) -> str:
        """Of the page."""
        return self.experiment.title

    @property
    def stem(self) -> str:
        """File name of the page, without the ending."""
        return self.profile.stem(self.experiment.key)

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim with its verdict; none where the paper claims nothing."""
        return ()

    @property
    def agreement(self) -> tuple[Cell, ...]:
        """Every published number that was measured again; none where models or data are others."""
        return ()

    @property
    def scored_rows(self) -> tuple[Row, ...]:
        """Rows of models whose records are scores, for exports; none where what is measured is something else."""
        return ()

    @property
    def score_columns(self) -> tuple[Column, ...]:
        """What the scores of those rows are."""
        return self.profile.columns

    def value(self, variant: str, metric: str) -> float | None:
        """A number that belongs to no prompt set."""
        found = self.records.find(variant, "", metric)
        return found[0].value if found else None

    def series(self, variant: str, metric: str) -> Series | None:
        """A series, if it was measured."""
        return self.records.find_series(variant, metric)

    def curve(self, variant: str, metric: str) -> Curve | None:
        """A curve, if it was measured."""
        return self.records.find_curve(variant, metric)
