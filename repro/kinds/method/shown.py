"""What a run of a figure of the method leaves: pictures, and the numbers of its tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from repro.harness.schema import Line, Record, Run, Series
from repro.kinds.method import keys
from repro.kinds.method.canvas import Pixels


@dataclass(frozen=True, slots=True)
class Shown:
    """What a run leaves: pictures by their names, numbers by variant and metric, and numbers of every step."""

    pictures: dict[str, Pixels]
    numbers: Mapping[tuple[str, str], float]
    steps: Mapping[str, tuple[float, ...]]
    batch: int = 1

    def lines(self, run: Run) -> Iterator[Line]:
        """All that is recorded."""
        yield run
        for (variant, metric), value in self.numbers.items():
            yield Record.of(run, variant, metric, value, n=self.batch)
        for metric, values in self.steps.items():
            yield Series.of(keys.STUDENT, metric, values, over="step", n=1)
