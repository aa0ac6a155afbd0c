"""What the page of faults is, as data."""

from dataclasses import dataclass

from repro.harness.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to disturb a run.

    Args:
        key: of its case in `repro.kinds.reliability.cases`.
        title: as the page names it.
        count: how often it is injected for the page.
    """

    key: str
    title: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityPage(Experiment):
    """Runs of a tiny world that are disturbed, gone on with, and compared bit by bit with undisturbed ones.

    Args:
        faults: in page order.
        seed: of the moments at which runs are killed.
    """

    faults: tuple[Fault, ...]
    seed: int
