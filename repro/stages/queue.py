"""A queue of units of work: several processes take what is next, and any of them may be killed at any time.

There is no list of what is done but what lies on disk, and no owner of a unit but its lease (`repro.stages.work`): a
queue that is started again goes on, two queues of the same tables share them, and a unit whose process was killed is
taken over by the next. A unit that fails is tried once by each process, and named at the end.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from repro.harness.cells import DASH, markdown, number
from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_json
from repro.harness.page import joined
from repro.harness.units import Unit
from repro.stages.work import LEASES, Leases, work_through

FOLDER = "queue"
POLL_SECONDS = 2.0
MOST_RESTARTS = 5  # of a process that was killed, in a row, without a unit done between


class QueueError(ExperimentError):
    """Units that could not be done; the message names each with its reason."""


@dataclass
class Failures:
    """Units that failed in this process, with the reason."""

    reasons: dict[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """All of them."""
        return "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())


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
    by_name, failures = {unit.name: unit for unit in units}, Failures()

    def do(name: str) -> None:
        if orphaned():
            raise SystemExit(1)
        try:
            by_name[name].do()
        except ExperimentError as error:
            failures.reasons[name] = str(error)
            print(f"{by_name[name].label} failed: {error}", file=sys.stderr)

    leases = Leases(folder / FOLDER / digest_json(sorted(by_name))[:32] / LEASES)
    shards = dict.fromkeys(by_name, 1)
    work_through(shards, leases, done=lambda name: name in failures.reasons or by_name[name].done(), do=do)
    if failures.reasons:
        raise QueueError(failures.told())


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
    """
    left = {unit.name: unit for unit in units if not unit.done()}
    total, begun = sum(unit.tokens for unit in left.values()) or 1.0, time.monotonic()
    with tqdm(total=len(units), initial=len(units) - len(left), unit="unit", desc="queue") as bar, crew:
        while left:
            found = [name for name, unit in left.items() if unit.done()]
            for name in found:
                del left[name]
            bar.update(len(found))
            share = 1 - sum(unit.tokens for unit in left.values()) / total
            if share > 0:
                seconds = (time.monotonic() - begun) * (1 - share) / share
                bar.set_postfix_str(f"expected end {time.strftime('%H:%M', time.localtime(time.time() + seconds))}")
            statuses = crew.tend(progressed=bool(found))
            if crew.is_over and left and not any(unit.done() for unit in left.values()):
                labels = ", ".join(unit.label for unit in left.values())
                raise QueueError(f"processes ended with status {statuses or [0]} and left {labels}")
            time.sleep(POLL_SECONDS if left else 0)


def crew(tables: Sequence[str], words: Sequence[str], workers: int | None) -> Crew:
    """Processes of this command: one for each GPU, else one for each core, unless told otherwise.

    Args:
        tables: that they work on.
        words: of the command line besides.
        workers: how many; as said above when absent.
    """
    from torch.cuda import device_count  # processes of the queue themselves need no torch before their first unit

    gpus = device_count()
    count = workers or gpus or os.cpu_count() or 1
    command = [sys.executable, "-m", "repro", "queue", *tables, *words, "--worker", str(os.getpid())]
    return Crew(command, count, partial(environment, workers=count, gpus=gpus))


def planned(units: Sequence[Unit]) -> str:
    """What a queue would do, as Markdown: units that are alike but for their training seed in a line."""
    total = sum(unit.tokens for unit in units) or 1.0
    lines: dict[str, list[Unit]] = {}
    for unit in units:
        lines.setdefault(unit.label.partition(", seed")[0], []).append(unit)
    rows = [
        [
            label,
            str(len({unit.student for unit in found})) if found[0].student else DASH,
            f"{sum(unit.done() for unit in found)} of {len(found)}",
            number(100 * sum(unit.tokens for unit in found) / total, 1),
        ]
        for label, found in lines.items()
    ]
    left = sum(unit.tokens for unit in units if not unit.done()) / total
    head = f"{len(units)} units, {number(100 * left, 0)} % of the work is left. Nothing was done."
    return joined([head, markdown(["Setup", "Trainings", "Done", "Share of the work, %"], rows)])


def environment(place: int, *, workers: int, gpus: int) -> dict[str, str]:
    """Of process number ``place``: its share of the cores, and its GPU where there are any."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    found = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return found | ({"CUDA_VISIBLE_DEVICES": str(place % gpus)} if gpus else {})
