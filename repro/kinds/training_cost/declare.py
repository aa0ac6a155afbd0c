"""What the page of training costs is, as data."""

from collections.abc import Mapping
from dataclasses import dataclass

from repro.harness.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Order:
    """One way to run an iteration: what it does beyond the line above.

    Args:
        key: variant in the records, and provider in the benchmark.
        label: the saving, in a few words.
    """

    key: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCostPage(Experiment):
    """A training iteration from the published order of passes to the lean one, in seconds and in FLOPs.

    Args:
        orders: from the first, the baseline, to the last, the default of the library.
        counted: profile -> T5 tokens of its prompts, of the models whose FLOPs are counted; the first is timed too.
        fake_updates: of an iteration.
        batch: samples of an update whose memory is counted.
        rounds: cycles of the schedule in which the orders take turns.
        aim: largest time of the last order, as a share of the first's.
    """

    orders: tuple[Order, ...]
    counted: Mapping[str, int | None]
    fake_updates: int
    batch: int
    rounds: int
    aim: float

    @property
    def timed(self) -> str:
        """Profile whose iterations are timed."""
        return next(iter(self.counted))
