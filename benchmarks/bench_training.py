"""A training iteration, from the published order of passes to the lean one, a saving at a time.

The orders take turns, a cycle of the schedule each, so that a drifting machine harms all alike.
"""

from functools import partial
from pathlib import Path
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from training_world import ORDERS, PARAMETERS, Case, Iterate, World, skip_unless_it_fits

from repro.measure.timing import PeakMemory, device_name
from swd.counting import count

ROUNDS = 3
TERMS = ("pdm", "dmd", "gan", "fake", "discriminator")


@pytest.mark.parametrize("case", PARAMETERS)
def bench_training(benchmark: BenchmarkFixture, case: Case, tmp_path: Path) -> None:
    skip_unless_it_fits(case)
    world = World(case, tmp_path)
    steps = world.schedule.num_steps
    memory = {name: peak_bytes(world, name) for name in ORDERS}
    orders = {name: world.order(name) for name in ORDERS}
    losses = {name: iterate(0) for name, iterate in orders.items()}
    for name in ORDERS:
        assert [losses[name][term] for term in TERMS] == pytest.approx(
            [losses["plain"][term] for term in TERMS], rel=1e-3 if case.dtype == "float32" else 0.1
        )
    taken: dict[str, list[float]] = {name: [] for name in ORDERS}

    def take_turns() -> None:
        first = len(taken["plain"]) % len(ORDERS)  # who comes first changes: caches favour nobody
        start = 1 + steps * len(taken["plain"])
        for name in (*ORDERS[first:], *ORDERS[:first]):
            taken[name].append(cycle(orders[name], range(start, start + steps), case.device))

    benchmark.pedantic(take_turns, rounds=ROUNDS)
    benchmark.extra_info.update(
        model=case.model,
        schedule=case.preset,
        batch_size=case.batch,
        dtype=case.dtype,
        device=device_name(torch.device(case.device)),
        seconds=taken,
        peak_bytes=memory,
    )


def cycle(iterate: Iterate, iterations: range, device: str) -> float:
    """Mean seconds of an iteration; every one waits for the device, since it reads its losses."""
    start = perf_counter()
    for iteration in iterations:
        iterate(iteration)
    if device == "cuda":
        torch.cuda.synchronize()
    return (perf_counter() - start) / len(iterations)


def peak_bytes(world: World, name: str) -> int:
    """Of an iteration at the largest scale: the networks that the order needs, and the most that tensors take beside.

    On a CPU the tensors are followed one by one: the resident size of the process is that of libraries, and of memory
    that was freed and kept.
    """
    world.accelerator.free_memory()  # the optimisers of the order before, and its networks, which refer to each other
    iterate, memory = world.order(name), PeakMemory(world.device)
    iterate(0)  # makes what the optimisers keep
    run = partial(iterate, world.schedule.num_steps - 1)
    if world.device.type == "cpu":
        return world.network_bytes(name) + count(run).peak_bytes
    memory.restart()
    before = memory.bytes()
    run()
    return world.network_bytes(name) + memory.bytes() - before
