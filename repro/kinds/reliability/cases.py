"""Every fault: injected so many times, gone on after, and compared with an undisturbed run."""

import os
import random
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from repro.kinds.reliability import scoring, training
from repro.kinds.reliability.faults import (
    DAMAGES,
    LOG,
    FaultError,
    Outcome,
    beside,
    cut,
    ended,
    fill,
    flip,
    kill,
    let_go,
    remount,
    small_disk,
    start,
    start_paused,
    zero,
)

PAUSE_AFTER = 3  # iterations, or batches of images


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
    saved: Callable[[Path], dict[Any, Any]]

    def finish(self, folder: Path, **how: Any) -> None:
        """Go on to the end, in a process of its own."""
        ended(start(self.run, folder, **how), 0)

    def recover(self, folder: Path, whole: Path, **how: Any) -> None:
        """Go on to the end, and compare with an undisturbed run.

        Raises:
            FaultError: it cannot go on, or something differs.
        """
        self.finish(folder, **how)
        self.check(folder, whole)

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


def killed(work: Work, folder: Path, seed: int, count: int) -> Outcome:
    """``kill -9`` at random moments, until it was killed so often; runs that end before are compared and begun anew."""
    chance, whole = random.Random(seed), folder / "whole"
    work.finish(whole)  # also starts the server of processes
    begun = monotonic()
    work.finish(folder / "timed")
    seconds = monotonic() - begun
    kills = repeated = number = 0
    while kills < count:
        run = folder / f"run-{number}"
        before, process = work.saved(run), start(work.run, run)
        process.join(chance.uniform(0.1, 0.9) * seconds)
        alive = process.is_alive()
        kill(process)
        kills += alive
        after = work.saved(run)
        repeated += sum(after.get(name) != value for name, value in before.items())
        if not alive:
            work.check(run, whole)
            number += 1
    for run in sorted(folder.glob("run-*/")):
        work.recover(run, whole)
    return Outcome(kills, kills, repeated)


def one_of_two_killed(folder: Path, seed: int, count: int) -> Outcome:
    """Two processes share images and scores; one is killed in the middle of a shard, and the other does all."""
    IMAGES.finish(folder / "whole")
    for number in range(count):
        run = folder / f"run-{number}"
        first = start_paused(scoring.run, run, 1 + (seed + number) % 4)
        second = start(scoring.run, run)
        kill(first)
        ended(second, 0)
        IMAGES.check(run, folder / "whole")
    return Outcome(count, count)


def asked_to_stop(folder: Path, seed: int, count: int) -> Outcome:
    """SIGTERM: the iteration is finished, a state saved, the exit status 0."""
    whole, repeated = folder / "whole", 0
    TRAINING.finish(whole)
    for number in range(count):
        run, after = folder / f"run-{number}", 1 + (seed + number) % (training.CONFIG.iterations - 2)
        process = start_paused(training.run, run, after)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        let_go(run)
        ended(process, 0)
        before = TRAINING.saved(run)
        if len(before) != after or (run / "final").exists():
            raise FaultError(f"stopped after {len(before)} iterations, expected {after}")
        TRAINING.recover(run, whole)
        repeated += sum(TRAINING.saved(run).get(name) != value for name, value in before.items())
    return Outcome(count, count, repeated)


def not_a_number(folder: Path, seed: int, count: int) -> Outcome:
    """A loss is NaN: nothing of it reaches the weights, the run says so, and goes on without it."""
    whole = folder / "whole"
    TRAINING.finish(whole)
    for number in range(count):
        run = folder / f"run-{number}"
        ended(start(training.run, run, nan_at=1 + (seed + number) % 6), training.NOT_FINITE)
        TRAINING.recover(run, whole)
    return Outcome(count, count)


def damaged_state(folder: Path, seed: int, count: int) -> Outcome:
    """The newest state is cut, zeroed or flipped, and so is the log: the state before it is taken."""
    whole = folder / "whole"
    TRAINING.finish(whole)
    ways = [
        (damage, name) for name in ("tensors.safetensors", "state.json", "SHA256SUMS") for damage in (flip, cut, zero)
    ]
    for number in range(count):
        run = folder / f"run-{number}"
        kill(start_paused(training.run, run, 4))
        damage, name = ways[(seed + number) % len(ways)]
        damage(training.newest_state(run) / name)
        TRAINING.recover(run, whole)
    return Outcome(count, count)


def damaged_stages(folder: Path, seed: int, count: int) -> Outcome:
    """Files of finished stages are cut, zeroed, flipped or removed; what followed from them is asked for again."""
    whole = folder / "whole"
    IMAGES.finish(whole)
    patterns = ("images/*/*.png", "images/*/shard-*.jsonl", "measured/*/*.safetensors", "scores/*/values.json")
    ways = [(damage, pattern) for damage in DAMAGES for pattern in patterns]
    chance = random.Random(seed)
    chance.shuffle(ways)
    for number in range(count):
        run = folder / f"run-{number}"
        IMAGES.finish(run)
        damage, pattern = ways[number % len(ways)]
        damage(chance.choice(sorted(run.glob(pattern))))
        for path in run.glob("scores/*/finished.json"):  # so that images and arrays are read again
            if not pattern.startswith("scores"):
                path.unlink()
        if pattern.startswith("images"):
            for path in run.glob("measured/*/*.safetensors"):
                path.unlink()
        IMAGES.recover(run, whole)
    return Outcome(count, count)


def full_disk(work: Work, folder: Path, seed: int, count: int) -> Outcome:
    """The disk is full in the middle: the run says so with one line, and goes on when there is room."""

    def disturb(run: Path) -> None:
        process = start_paused(work.run, run, PAUSE_AFTER)
        filling = fill(run.parent)
        let_go(run)
        ended(process, training.NO_OUTPUT)
        filling.unlink()

    return _on_a_small_disk(work, folder, count, disturb)


def read_only(work: Work, folder: Path, seed: int, count: int) -> Outcome:
    """The folder cannot be written: found before the work, with one line."""

    def disturb(run: Path) -> None:
        remount(run.parent, "ro")
        ended(start(work.run, run), training.NO_OUTPUT)
        remount(run.parent, "rw")

    return _on_a_small_disk(work, folder, count, disturb)


def _on_a_small_disk(work: Work, folder: Path, count: int, disturb: Callable[[Path], None]) -> Outcome:
    """Runs on a disk of their own, each of which is disturbed and then goes on."""
    whole, disk = folder / "whole", folder / "disk"
    work.finish(whole)
    with small_disk(disk):
        for number in range(count):
            run = disk / f"run-{number}"
            beside(run, LOG).symlink_to(beside(folder / run.name, LOG))  # what is printed needs room
            disturb(run)
            work.recover(run, whole)
    return Outcome(count, count)


def jumping_clock(work: Work, folder: Path, seed: int, count: int) -> Outcome:
    """The system's clock jumps by days, forwards and backwards, all the time."""
    work.finish(folder / "whole")
    for number in range(count):
        work.recover(folder / f"run-{number}", folder / "whole", jumps=seed + number)
    return Outcome(count, count)


def killed_in_a_group(folder: Path, seed: int, count: int) -> Outcome:
    """Of two processes of a gloo group one is killed: the other ends, and both go on from the last state."""
    _pair(folder / "whole")
    for number in range(count):
        run, after, port = folder / f"run-{number}", 1 + (seed + number) % 4, _port()
        first = start(training.run, run, place=(0, port))
        kill(start_paused(training.run, run, after, place=(1, port)))
        ended(first, 1, -signal.SIGABRT)
        _pair(run)
        TRAINING.check(run, folder / "whole")
    return Outcome(count, count)


def _pair(run: Path) -> None:
    port = _port()
    for process in [start(training.run, run, place=(rank, port)) for rank in (0, 1)]:
        ended(process, 0)


def _port() -> int:
    return 20_000 + secrets.randbelow(10_000)


Case = Callable[[Path, int, int], Outcome]
CASES: dict[str, Case] = {
    "training_kill": partial(killed, TRAINING),
    "training_sigterm": asked_to_stop,
    "training_nan": not_a_number,
    "training_damage": damaged_state,
    "training_full_disk": partial(full_disk, TRAINING),
    "training_read_only": partial(read_only, TRAINING),
    "training_clock": partial(jumping_clock, TRAINING),
    "training_group": killed_in_a_group,
    "images_kill": partial(killed, IMAGES),
    "images_shared": one_of_two_killed,
    "images_damage": damaged_stages,
    "images_full_disk": partial(full_disk, IMAGES),
    "images_read_only": partial(read_only, IMAGES),
    "images_clock": partial(jumping_clock, IMAGES),
}
