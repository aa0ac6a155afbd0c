"""A student against a baseline that is given as much measured time: the line between two rows of the clock."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from harness_world import PROFILE, TABLE, record

from repro import load_experiment
from repro.harness.claim_words import difference
from repro.harness.claims import Comparison, Judgement, NoComparison, Verdict, judge
from repro.harness.effects import without_group
from repro.harness.experiment import Row
from repro.harness.schema import Line, PerImage, RecordSet, Series
from repro.kinds.scores.costs import SECONDS
from repro.kinds.scores.declare import Check, Claim, Clock, Table, better
from repro.kinds.scores.equal_time import share_of_slower
from repro.kinds.scores.judge import tested

ROWS = (*TABLE.rows, Row("bigger", "Full-scale", train={"schedule": "full-4"}))
CHECK = replace(better("prompt_alignment", "small", "big", prompts=("short",)), slower="bigger")
RNG = np.random.default_rng(0)


def timed(**seconds: float) -> list[Line]:
    return [Series.of(row, SECONDS, [0.8 * s, s, 1.25 * s], over="round", unit="s") for row, s in seconds.items()]


def scored(row: str, values: np.ndarray, seed: int = 0) -> PerImage:
    return PerImage.of(values, variant=row, prompts="short", metric="accuracy", seed=seed)


def judged(check: Check, made: list[Line]) -> Judgement:
    table = replace(TABLE, rows=ROWS, clock=Clock(), claims=(Claim("k", "A claim", check),))
    records = RecordSet.of(made)
    (found,) = judge(table.claims, partial(tested, table=table, profile=PROFILE, records=records))
    return found


@pytest.mark.parametrize(("own", "share"), [(1.0, 0.0), (1.5, 0.25), (3.0, 1.0), (0.5, 0.0)])
def test_the_share_is_where_the_candidate_lies_between_the_means(own: float, share: float) -> None:
    assert share_of_slower(CHECK, RecordSet.of(timed(small=own, big=1.0, bigger=3.0))) == pytest.approx(share)


def test_a_difference_is_that_to_the_line_between_the_two_rows() -> None:
    small, big, bigger = RNG.random((3, 40))
    made = [scored(row, values) for row, values in (("small", small), ("big", big), ("bigger", bigger))]
    found = judged(CHECK, [*timed(small=1.5, big=1.0, bigger=3.0), *made]).comparison
    by_hand = small - (0.75 * big + 0.25 * bigger)
    assert found is not None
    assert found.difference == pytest.approx(by_hand.mean(), abs=1e-6)
    assert found.spread.error == pytest.approx(by_hand.std(ddof=1) / 40**0.5, rel=1e-4)


def test_a_candidate_that_is_faster_than_both_is_compared_with_the_faster_one_and_says_so() -> None:
    made = [scored(row, RNG.random(40)) for row in ("small", "big", "bigger")]
    faster = judged(CHECK, [*timed(small=0.5, big=1.0, bigger=3.0), *made])
    plain = judged(replace(CHECK, slower=""), list(made))
    assert faster.comparison is not None
    assert plain.comparison is not None
    assert faster.comparison.difference == pytest.approx(plain.comparison.difference)
    assert difference(faster) == f"{difference(plain)} (no slower than big, so compared with that)"
    between = judged(CHECK, [*timed(small=1.5, big=1.0, bigger=3.0), *made])
    assert difference(between).endswith("(against 75% big and 25% bigger)")


def test_numbers_of_whole_sets_are_on_the_line_with_their_replicates() -> None:
    check = replace(CHECK, role="distribution")
    made: list[Line] = []
    values = {
        "small": (4.0, RNG.normal(4, 1, 20)),
        "big": (10.0, RNG.normal(10, 1, 20)),
        "bigger": (6.0, RNG.normal(6, 1, 20)),
    }
    for row, (value, replicates) in values.items():
        made.append(record(row, "short", "distance", value))
        name = without_group("distance", "short", 0)
        made.append(Series.of(row, name, replicates, over="replicate", n=40, digits=12))
    found = judged(check, [*timed(small=1.5, big=1.0, bigger=3.0), *made]).comparison
    gaps = values["small"][1] - (0.75 * values["big"][1] + 0.25 * values["bigger"][1])
    assert found is not None
    assert found.difference == pytest.approx(0.75 * 10 + 0.25 * 6 - 4)  # a small distance is a good one
    assert found.spread.error == pytest.approx((19 / 20 * np.square(gaps - gaps.mean()).sum()) ** 0.5, rel=1e-6)


def test_seeds_are_those_that_both_rows_of_the_line_have() -> None:
    made = [scored(row, RNG.random(40), seed) for row in ("small", "big") for seed in (0, 1, 2)]
    made += [scored("bigger", RNG.random(40), seed) for seed in (1, 2, 3)]
    found = judged(CHECK, [*timed(small=1.5, big=1.0, bigger=3.0), *made])
    assert isinstance(found.comparison, Comparison)
    assert found.comparison.seeds == 2


@pytest.mark.parametrize(
    ("clock", "reason"),
    [
        ({"small": 1.5, "big": 1.0}, "big, small, bigger were not all timed"),
        (
            {"small": 3.5, "big": 1.0, "bigger": 3.0},
            r"small takes 3.5000 s, not between big (1.0000) and bigger (3.0000)",
        ),
        ({"small": 0.5, "big": 2.0, "bigger": 1.0}, "not between"),
        ({"small": 1.0, "big": 1.0, "bigger": 1.0}, "not between"),
    ],
)
def test_what_no_clock_puts_between_the_two_is_not_measured(clock: dict[str, float], reason: str) -> None:
    made = [scored(row, RNG.random(40)) for row in ("small", "big", "bigger")]
    outcome = judged(CHECK, [*timed(**clock), *made]).outcome
    assert isinstance(outcome, NoComparison)
    assert outcome.verdict is Verdict.NOT_MEASURED
    assert reason in outcome.reason


def test_a_claim_at_equal_time_takes_a_clock_and_rows_that_are_there() -> None:
    with pytest.raises(ValueError, match="'k' is about time, but the table has no clock"):
        replace(TABLE, rows=ROWS, claims=(Claim("k", "A claim", CHECK),))
    with pytest.raises(ValueError, match="names unknown rows"):
        replace(TABLE, clock=Clock(), claims=(Claim("k", "A claim", CHECK),))


def test_table_2_over_seeds_compares_at_equal_latency() -> None:
    table = load_experiment("table2_seeds")
    assert isinstance(table, Table)
    asked = [claim for claim in table.claims if isinstance(claim.check, Check) and claim.check.slower]
    assert {claim.check.rows for claim in asked} == {("scalewise_4", "fullscale_2", "fullscale_4")}
