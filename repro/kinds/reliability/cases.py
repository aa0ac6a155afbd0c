"""Every fault: injected so many times, gone on after, and compared with an undisturbed run."""

import os
import random
import secrets
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

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
    in_last_line,
    kill,
    let_go,
    remount,
    small_disk,
    start,
    start_paused,
    zero,
)
from repro.kinds.reliability.work import IMAGES, TRAINING, Finished, Work

PAUSE_AFTER = 3  # iterations, or batches of images


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
        before, process, begun = work.saved(run), start(work.run, run), monotonic()
        process.join(chance.uniform(0.1, 0.9) * seconds)
        took = monotonic() - begun
        kill(process)
        was_killed = process.exitcode == -signal.SIGKILL
        kills += was_killed
        repeated += work.repeated(run, before)
        if not was_killed:
            work.check(run, whole)
            number += 1
            if not before:  # from its beginning to its end: the machine has become less busy
                seconds = min(seconds, took)
    repeated += sum(work.recover(run, whole) for run in sorted(folder.glob("run-*/")))
    return Outcome(kills, repeated)


def one_of_two_killed(folder: Path, seed: int, count: int) -> Outcome:
    """Two processes share images and scores; one is killed in the middle of a shard, and the other does all."""
    whole, repeated = folder / "whole", 0
    IMAGES.finish(whole)
    for number in range(count):
        run = folder / f"run-{number}"
        first = start_paused(scoring.run, run, 1 + (seed + number) % 4)
        before, second = IMAGES.saved(run), start(scoring.run, run)
        kill(first)
        ended(second, 0)
        IMAGES.check(run, whole)
        repeated += IMAGES.repeated(run, before)
    return Outcome(count, repeated)


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
        repeated += TRAINING.recover(run, whole)
    return Outcome(count, repeated)


def not_a_number(folder: Path, seed: int, count: int) -> Outcome:
    """A loss is NaN: nothing of it reaches the weights, the run says so, and goes on without it."""
    whole, repeated = folder / "whole", 0
    TRAINING.finish(whole)
    for number in range(count):
        run = folder / f"run-{number}"
        ended(start(training.run, run, nan_at=1 + (seed + number) % 6), training.NOT_FINITE)
        repeated += TRAINING.recover(run, whole)
    return Outcome(count, repeated)


def damaged_state(folder: Path, seed: int, count: int) -> Outcome:
    """The newest state is cut, zeroed or flipped, and so is the log's last line: the state before it is taken."""
    whole, repeated = folder / "whole", 0
    TRAINING.finish(whole)
    ways = [
        (damage, name) for name in ("tensors.safetensors", "state.json", "SHA256SUMS") for damage in (flip, cut, zero)
    ]
    for number in range(count):
        run = folder / f"run-{number}"
        kill(start_paused(training.run, run, 4))
        before = TRAINING.saved(run)
        damage, name = ways[(seed + number) % len(ways)]
        damage(training.newest_state(run) / name)
        in_last_line(damage, training.log_of(run))
        repeated += _no_more_than_was_damaged(TRAINING.recover(run, whole, before), run)
    return Outcome(count, repeated)


def damaged_stages(folder: Path, seed: int, count: int) -> Outcome:
    """Files of finished stages are cut, zeroed, flipped or removed; what followed from them is asked for again."""
    whole, repeated = folder / "whole", 0
    IMAGES.finish(whole)
    patterns = ("images/*/*.png", "images/*/shard-*.jsonl", "measured/*/*.safetensors", "scores/*/values.json")
    ways = [(damage, pattern) for damage in DAMAGES for pattern in patterns]
    chance = random.Random(seed)
    chance.shuffle(ways)
    for number in range(count):
        run = folder / f"run-{number}"
        IMAGES.finish(run)
        damage, pattern = ways[number % len(ways)]
        _ask_again(run, pattern)
        before = IMAGES.saved(run)
        damage(chance.choice(sorted(run.glob(pattern))))
        repeated += _no_more_than_was_damaged(IMAGES.recover(run, whole, before), run)
    return Outcome(count, repeated)


def _ask_again(run: Path, pattern: str) -> None:
    """Take away what follows from files of a pattern, so that these are read again."""
    if not pattern.startswith("scores"):
        for path in run.glob("scores/*/finished.json"):
            path.unlink()
    if pattern.startswith("images"):
        for path in run.glob("measured/*/*.safetensors"):
            path.unlink()


def _no_more_than_was_damaged(repeated: int, run: Path) -> int:
    if repeated > 1:
        raise FaultError(f"{run.name}: {repeated} steps or shards were done again, one was damaged")
    return repeated


def full_disk(work: Work, folder: Path, seed: int, count: int) -> Outcome:
    """The disk is full in the middle: the run says so with one line, and goes on when there is room."""

    def disturb(run: Path) -> Finished:
        process = start_paused(work.run, run, PAUSE_AFTER)
        before, filling = work.saved(run), fill(run.parent)
        let_go(run)
        ended(process, training.NO_OUTPUT)
        filling.unlink()
        return before

    return _on_a_small_disk(work, folder, count, disturb)


def read_only(work: Work, folder: Path, seed: int, count: int) -> Outcome:
    """The folder of a run that was begun cannot be written: found before the work, with one line."""

    def disturb(run: Path) -> Finished:
        kill(start_paused(work.run, run, PAUSE_AFTER))
        before = work.saved(run)
        remount(run.parent, "ro")
        ended(start(work.run, run), training.NO_OUTPUT)
        remount(run.parent, "rw")
        return before

    return _on_a_small_disk(work, folder, count, disturb)


def _on_a_small_disk(work: Work, folder: Path, count: int, disturb: Callable[[Path], Finished]) -> Outcome:
    """Runs on a disk of their own, each of which is disturbed and then goes on; ``disturb`` says what was finished."""
    whole, disk, repeated = folder / "whole", folder / "disk", 0
    work.finish(whole)
    with small_disk(disk):
        for number in range(count):
            run = disk / f"run-{number}"
            beside(run, LOG).symlink_to(beside(folder / run.name, LOG))  # what is printed needs room
            repeated += work.recover(run, whole, disturb(run))
    return Outcome(count, repeated)


def jumping_clock(work: Work, folder: Path, seed: int, count: int) -> Outcome:
    """The system's clock jumps by days, forwards and backwards, all the time, and the run is asked for twice."""
    whole, repeated = folder / "whole", 0
    work.finish(whole)
    for number in range(count):
        run = folder / f"run-{number}"
        work.finish(run, jumps=seed + number)
        repeated += work.recover(run, whole, jumps=seed + number + count)
    return Outcome(count, repeated)


def killed_in_a_group(folder: Path, seed: int, count: int) -> Outcome:
    """Of two processes of a gloo group one is killed: the other ends, and both go on from the last state."""
    whole, repeated = folder / "whole", 0
    _pair(whole)
    for number in range(count):
        run, after, port = folder / f"run-{number}", 1 + (seed + number) % 4, _port()
        first = start(training.run, run, place=(0, port))
        kill(start_paused(training.run, run, after, place=(1, port)))
        ended(first, 1, -signal.SIGABRT)
        before = TRAINING.saved(run)
        _pair(run)
        TRAINING.check(run, whole)
        repeated += TRAINING.repeated(run, before)
    return Outcome(count, repeated)


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
