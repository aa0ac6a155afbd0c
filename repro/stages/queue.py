"""A queue of units of work: several processes take what is next, and any of them may be killed at any time.

There is no list of what is done but what lies on disk, and no owner of a unit but its lease (`repro.stages.work`): a
queue that is started again goes on, two queues of the same tables share them, and a unit whose process was killed is
taken over by the next. A unit that fails, for whatever reason, is tried once by each process, and named at the end.
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from repro.harness.cells import DASH, markdown, number
from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_json
from repro.harness.page import joined
from repro.harness.units import Unit
from repro.stages.stopping import ended_by_sigterm
from repro.stages.work import LEASES, Leases, work_through

FOLDER = "queue"
POLL_SECONDS = 2.0
TERA = 1e12
MOST_RESTARTS = 5  # of a process that was killed, in a row, without a unit done between


class QueueError(ExperimentError):
    """Units that could not be done; the message names each with its reason."""


class _KeptLeases(Leases):
    """Leases that a process leaves alone when it has nothing more to do: others may still hold some."""

    def remove(self) -> None:
        """Nothing."""


def work(units: Sequence[Unit], folder: Path, *, orphaned: Callable[[], bool] = lambda: False) -> None:
    """Do units until none is left, together with every other process that is asked for the same.

    Args:
        units: in the order in which they are tried.
        folder: of unfinished work, shared by all processes.
        orphaned: whether whoever started this process is gone; then it ends before the next unit.

    Raises:
        QueueError: a unit failed here; all others were done or tried all the same.
        SystemExit: orphaned.
    """
    by_name, reasons = {unit.name: unit for unit in units}, dict[str, str]()

    def do(name: str) -> None:
        if orphaned():
            raise SystemExit(1)
        try:
            by_name[name].do()
        except Exception as error:  # whatever it is, the other units have nothing to do with it
            reasons[name] = f"{type(error).__name__}: {error}"
            known = isinstance(error, ExperimentError)
            traceback.print_exception(error, limit=0 if known else None, file=sys.stderr)

    leases = _KeptLeases(folder / FOLDER / digest_json(sorted(by_name))[:32] / LEASES)
    shards = dict.fromkeys(by_name, 1)
    work_through(shards, leases, done=lambda name: name in reasons or by_name[name].done(), do=do)
    if reasons:
        raise QueueError("; ".join(f"{by_name[name].label}: {reason}" for name, reason in reasons.items()))
    Leases(leases.folder).remove()


@dataclass
class Crew:
    """Processes that work on the same units; one that is killed is started again.

    Args:
        command: starts a process.
        count: how many.
        environment: of each process, by its place.
    """

    command: Sequence[str]
    count: int
    environment: Callable[[int], Mapping[str, str]]
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _restarts: dict[int, int] = field(default_factory=dict)

    def __enter__(self) -> "Crew":
        for place in range(self.count):
            self._start(place)
        return self

    def __exit__(self, *exception: object) -> None:
        """End whoever is still running: what they had begun is gone on with the next time."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait()

    def tend(self, *, progressed: bool) -> list[int]:
        """Start killed processes again; exit statuses of those that ended by themselves.

        Raises:
            QueueError: one was killed again and again.
        """
        if progressed:
            self._restarts.clear()
        ended = []
        for place, process in list(self._running.items()):
            status = process.poll()
            if status is None:
                continue
            del self._running[place]
            if status >= 0:
                ended.append(status)
                continue
            self._restarts[place] = self._restarts.get(place, 0) + 1
            if self._restarts[place] > MOST_RESTARTS:
                raise QueueError(f"a process was killed by signal {-status} {MOST_RESTARTS} times in a row")
            self._start(place)
        return ended

    @property
    def is_over(self) -> bool:
        """Whether nobody is left."""
        return not self._running

    def _start(self, place: int) -> None:
        self._running[place] = subprocess.Popen(self.command, env={**os.environ, **self.environment(place)})


def watch(units: Sequence[Unit], crew: Crew) -> None:
    """Wait until a crew has done all units, and show how far it is and when it is expected to end.

    Raises:
        QueueError: processes ended and units are left.
        SystemExit: SIGTERM came, and the crew has ended: trainings have saved a state.
    """
    left = {unit.name: unit for unit in units if not unit.done()}
    total, begun = flops_left(units, left) or 1.0, time.monotonic()
    if not left:
        return
    bar = tqdm(total=len(units), initial=len(units) - len(left), unit="unit", desc="queue")
    with ended_by_sigterm(), bar, crew:
        while left:
            found = [name for name, unit in left.items() if unit.done()]
            for name in found:
                del left[name]
            bar.update(len(found))
            if seconds := _seconds_left(1 - flops_left(units, left) / total, time.monotonic() - begun):
                bar.set_postfix_str(f"expected end {clock_time(time.time() + seconds, time.time())}")
            statuses = crew.tend(progressed=bool(found))
            if crew.is_over and left and not any(unit.done() for unit in left.values()):
                labels = ", ".join(unit.label for unit in left.values())
                raise QueueError(f"processes ended with status {statuses or [0]} and left {labels}")
            time.sleep(POLL_SECONDS if left else 0)


def _seconds_left(share: float, seconds: float) -> float | None:
    """That the rest takes, of which this share took so many; None at the start."""
    return seconds * (1 - share) / share if share > 0 else None


def clock_time(when: float, now: float) -> str:
    """Hours and minutes of a time in seconds since 1970, with its date unless that is today's."""
    there, here = datetime.fromtimestamp(when), datetime.fromtimestamp(now)
    return f"{there:%H:%M}" if there.date() == here.date() else f"{there:%Y-%m-%d %H:%M}"


def flops_of(units: Iterable[Unit]) -> float:
    """Of images, and of each training once, whichever of its units does it."""
    found = list(units)
    trainings = {unit.student: unit.training_flops for unit in found if unit.student}
    return sum(unit.flops for unit in found) + sum(trainings.values())


def flops_left(units: Iterable[Unit], left: Container[str]) -> float:
    """Of the units with these names, without trainings that another unit has done."""
    units = list(units)
    trained = {unit.student for unit in units if unit.name not in left}
    rest = [unit for unit in units if unit.name in left]
    return flops_of(replace(unit, student="") if unit.student in trained else unit for unit in rest)


def planned(units: Sequence[Unit], workers: int) -> str:
    """What a queue would do, as Markdown: units that are alike but for their training seed in a line."""
    lines: dict[str, list[Unit]] = {}
    for unit in units:
        lines.setdefault(unit.label.partition(", seed")[0], []).append(unit)
    rows = [
        [
            label,
            str(len({unit.student for unit in found})) if found[0].student else DASH,
            f"{sum(unit.done() for unit in found)} of {len(found)}",
            number(flops_of(found) / TERA, 1),
        ]
        for label, found in lines.items()
    ]
    left = {unit.name for unit in units if not unit.done()}
    flops = flops_left(units, left)
    heads = ["Setup", "Trainings", "Done", "TFLOP"]
    summary = (
        f"{len(units)} units, {number(flops_of(units) / TERA, 0)} TFLOP of networks; {len(left)} units are left with "
        f"{number(flops / TERA, 0)} TFLOP{_hours(units, flops, workers)}. Trainings that several units share "
        "count once in all, and in each line. Nothing was done."
    )
    return joined([summary, markdown(heads, rows)])


def _hours(units: Sequence[Unit], left: float, workers: int) -> str:
    """How long so many FLOPs take, by what was done here."""
    spent = [found for unit in units if (found := unit.spent()) is not None]
    if not spent or not left:
        return "" if not left else "; how long that takes is known once a unit was done"
    speed = sum(found.flops for found in spent) / sum(found.seconds for found in spent)
    hours = left / speed / workers / 3600
    processes = "one process" if workers == 1 else f"{workers} processes"
    return f", about {number(hours, 1)} hours for {processes} by the {len(spent)} units that were done here in one go"


def count_workers(asked: int | None) -> int:
    """Processes: those asked for, or one for each GPU, or without any one for each core."""
    return asked or len(_gpus()) or os.cpu_count() or 1


def environment(place: int, *, workers: int) -> dict[str, str]:
    """Of process number ``place``: its share of the cores, and its GPU where there are any."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    gpus = _gpus()
    found = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return found | ({"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {})


def _gpus() -> list[str]:
    """By their names for CUDA: those that the user left visible, or all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    from torch.cuda import device_count  # a queue itself needs no torch before its first unit

    return [str(place) for place in range(device_count())]
