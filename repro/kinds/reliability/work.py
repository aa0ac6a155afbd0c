"""What is disturbed: a training, and images with their scores; gone on with, compared, what is done twice counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.kinds.reliability import scoring, training
from repro.kinds.reliability.faults import FaultError, ended, start

Finished = Mapping[Any, Any]  # steps or shards, by name, as they were when they were last done


@dataclass(frozen=True)
class Work:
    """Something to disturb.

    Attributes:
        run: does it, or what is missing of it, in a process of its own.
        left: what it leaves when it is done, to be compared.
        saved: of a folder, what is finished for good; a later run must leave it as it is.
    """

    run: Callable[..., None]
    left: Callable[[Path], dict[str, Any]]
    saved: Callable[[Path], Finished]

    def finish(self, folder: Path, **how: Any) -> None:
        """Go on to the end, in a process of its own."""
        ended(start(self.run, folder, **how), 0)

    def recover(self, folder: Path, whole: Path, before: Finished | None = None, **how: Any) -> int:
        """Go on to the end, compare with an undisturbed run, and count what was done again that was finished.

        Args:
            folder: of a disturbed run.
            whole: that of an undisturbed one.
            before: what was finished, where a disturbance has taken some of it away; by default what now is.
            how: for `run`.

        Raises:
            FaultError: it cannot go on, or something differs.
        """
        before = self.saved(folder) if before is None else before
        self.finish(folder, **how)
        self.check(folder, whole)
        return self.repeated(folder, before)

    def repeated(self, folder: Path, before: Finished) -> int:
        """How much of what was finished before has been done again."""
        after = self.saved(folder)
        return sum(after.get(name) != value for name, value in before.items())

    def check(self, folder: Path, whole: Path) -> None:
        """Compare with an undisturbed run, bit by bit.

        Raises:
            FaultError: something differs; the first is named.
        """
        found, expected = self.left(folder), self.left(whole)
        different = [name for name in expected | found if found.get(name) != expected.get(name)]
        if different or not expected:
            raise FaultError(f"{folder.name}: {len(different)} of {len(expected)} differ, first {different[:1]}")


TRAINING = Work(training.run, training.left, training.saved)
IMAGES = Work(scoring.run, scoring.left, scoring.saved)
