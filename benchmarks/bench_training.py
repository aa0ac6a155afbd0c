"""A training iteration, from the published order of passes to the lean one, a saving at a time.

The orders take turns at every step, so that a drifting machine harms all alike; a round is a cycle of the schedule,
or of its first steps where no more fit.
"""

from functools import partial
from pathlib import Path

import budget
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from sampling_world import seconds
from training_world import ORDERS, PARAMETERS, Case, Iterate, TrainingOrders, skip_unless_it_fits, world

from repro.stages.timing import PeakMemory, device_name
from swd.cost.counting import count

ROUNDS = 2
TERMS = ("pdm", "dmd", "gan", "fake", "discriminator")


@pytest.mark.parametrize("case", PARAMETERS)
def bench_training(benchmark: BenchmarkFixture, pytestconfig: pytest.Config, case: Case, tmp_path: Path) -> None:
    skip_unless_it_fits(case)
    shared = world(case, tmp_path)
    steps = shared.schedule.num_steps
    orders = {name: shared.order(name) for name in ORDERS}
    losses = {name: iterate(0) for name, iterate in orders.items()}  # also makes what the optimisers keep
    for name in ORDERS:
        assert [losses[name][term] for term in TERMS] == pytest.approx(
            [losses["plain"][term] for term in TERMS], rel=1e-3 if case.dtype == "float32" else 0.1
        )
    memory = {name: peak_bytes(shared, name, iterate) for name, iterate in orders.items()}
    once = sum(seconds(partial(iterate, steps - 1), case.device) for iterate in orders.values())  # the longest step
    turns = budget.turns(pytestconfig, once, cycle=steps, most=ROUNDS)
    taken: dict[str, list[float]] = {name: [] for name in ORDERS}

    def take_turns() -> None:
        spent = dict.fromkeys(ORDERS, 0.0)
        start = steps * (1 + len(taken["plain"]))
        for iteration in range(start, start + turns.steps):
            first = iteration % len(ORDERS)  # who comes first changes: caches favour nobody
            for name in (*ORDERS[first:], *ORDERS[:first]):
                spent[name] += seconds(partial(orders[name], iteration), case.device)
        for name in ORDERS:
            taken[name].append(spent[name] / turns.steps)

    benchmark.pedantic(take_turns, rounds=turns.rounds)
    benchmark.extra_info.update(
        model=case.model,
        schedule=case.preset,
        batch_size=case.batch,
        dtype=case.dtype,
        device=device_name(torch.device(case.device)),
        seconds=taken,
        peak_bytes=memory,
    )


def peak_bytes(world: TrainingOrders, name: str, iterate: Iterate) -> int:
    """Of an iteration at the largest scale: the networks that the order needs, and the most that tensors take beside.

    On a CPU the tensors are followed one by one: the resident size of the process is that of libraries, and of memory
    that was freed and kept.
    """
    run = partial(iterate, world.schedule.num_steps - 1)
    if world.device.type == "cpu":
        return world.network_bytes(name) + count(run).peak_bytes
    memory = PeakMemory(world.device)
    memory.restart()
    before = memory.bytes()
    run()
    return world.network_bytes(name) + memory.bytes() - before
