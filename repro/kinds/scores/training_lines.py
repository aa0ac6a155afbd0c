"""What the logs of a table's trainings say: seconds, and losses by scale."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

from repro.harness.experiment import Row
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.schema import Curve, Line, Record, Run
from repro.kinds.scores.declare import Table
from repro.kinds.scores.keys import TRAINING_SECONDS, loss_at

TERMS = ("pdm", "dmd", "gan")  # of the student's loss, before their weights
Log = Sequence[Mapping[str, Any]]


def training_lines(run: Run, table: Table, profile: Profile, logs: Mapping[tuple[str, int], Log]) -> Iterator[Line]:
    """Seconds of every training, and the losses of the longest one of every curve.

    Args:
        run: that measured.
        table: its curves.
        profile: in which it was measured.
        logs: of row and training seed, an entry for every iteration.
    """
    for (key, seed), log in logs.items():
        yield Record.of(run, key, TRAINING_SECONDS, seconds(log), seed=seed, n=len(log), unit="s")
    for curve in table.training_curves:
        last = [key for key in curve.rows if any(row == key for row, _ in logs)][-1:]
        for key in last:
            yield from losses(profile, table.row(key), [log for (row, _), log in logs.items() if row == key])


def seconds(log: Log) -> float:
    """Of a training: iterations of every step times their median, for a machine has other things to do at times."""
    of_step: dict[int, list[float]] = {}
    for line in log:
        of_step.setdefault(line.get("step", 0), []).append(line["seconds"])
    return sum(len(found) * median(found) for found in of_step.values())


def losses(profile: Profile, row: Row, logs: Sequence[Log]) -> Iterator[Curve]:
    """Every term at every side against iterations: means over training seeds, and the standard error of these."""
    sides = resolve(profile, row).training.schedule().scales
    length = min(map(len, logs))
    for side in dict.fromkeys(sides):
        at = [iteration for iteration in range(length) if sides[iteration % len(sides)] == side]
        for term in TERMS:
            if not at or any(term not in log[at[0]] for log in logs):
                continue
            values = [[log[iteration][term] for log in logs] for iteration in at]
            errors = [stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0 for found in values]
            yield Curve(
                variant=row.key,
                metric=loss_at(term, side),
                x=tuple(float(iteration + 1) for iteration in at),
                y=tuple(float(f"{fmean(found):.5g}") for found in values),
                error=tuple(float(f"{error:.3g}") for error in errors),
                n=len(logs),
            )
