"""Sampling from text to pixels: our pipeline, plain and fast, against diffusers on the same checkpoint.

The providers take turns within every round, so that a drifting machine harms all alike: what pytest-benchmark shows is
a round of all three, and ``extra_info`` holds the seconds of each.
"""

import budget
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sampling_world import PARAMETERS, PROVIDERS, Case, describe, drawing, peak_bytes, seconds, skip_unless_it_fits

FEWEST, ROUNDS = 2, 7


@pytest.mark.parametrize("case", PARAMETERS)
def bench_sampling(benchmark: BenchmarkFixture, pytestconfig: pytest.Config, case: Case) -> None:
    skip_unless_it_fits(case)
    draws = {name: drawing(case, name) for name in PROVIDERS}
    assert {draw().shape[0] for draw in draws.values()} == {case.batch}
    memory = {name: peak_bytes(draw, case.device) for name, draw in draws.items()}
    once = sum(seconds(draw, case.device) for draw in draws.values())  # warms up too
    taken: dict[str, list[float]] = {name: [] for name in PROVIDERS}

    def take_turns() -> None:
        first = len(taken[PROVIDERS[0]]) % len(PROVIDERS)  # who comes first changes: caches favour nobody
        for name in (*PROVIDERS[first:], *PROVIDERS[:first]):
            taken[name].append(seconds(draws[name], case.device))

    wanted = budget.rounds(pytestconfig, once, seconds=budget.SAMPLING, least=FEWEST, most=ROUNDS)
    benchmark.pedantic(take_turns, rounds=wanted)
    benchmark.extra_info.update(describe(case, taken), peak_bytes=memory)
