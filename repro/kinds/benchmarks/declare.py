"""What the page of benchmarks is, as data."""

from dataclasses import dataclass

from repro.harness.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPage(Experiment):
    """Times of the building blocks, from pytest-benchmark.

    Args:
        baseline: provider whose time is 1 in the comparison of providers.
        targets: provider -> the largest ratio to the baseline that we aim at.
        rounds: in which the providers take turns.
        left_out: files of benchmarks that have a page of their own.
    """

    baseline: str
    targets: dict[str, float]
    rounds: int
    left_out: tuple[str, ...] = ()

    @property
    def providers(self) -> tuple[str, ...]:
        """All that are compared, the baseline last."""
        return (*self.targets, self.baseline)
