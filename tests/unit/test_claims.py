import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from harness_world import PROFILE, RUN, TABLE, lines
from numpy.typing import NDArray

from repro.harness.bootstrap import compare
from repro.harness.claims import Comparison, Judgement, Verdict, difference, judge
from repro.harness.schema import Line, PerImage, RecordError, RecordSet
from repro.kinds.scores.declare import Claim, Table, at_least
from repro.kinds.scores.judge import tested


def judged_of(table: Table, found: RecordSet) -> tuple[Judgement, ...]:
    return judge(table.claims, partial(tested, table=table, profile=PROFILE, records=found))


def normal(seed: int, shape: tuple[int, int], mean: float = 0.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(mean, 1.0, shape)


def standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std() / np.sqrt(values.size))


def test_interval_of_a_normal_mean() -> None:
    """Large n: the percentile interval is mean +- 1.96 s / sqrt(n), of the paired differences."""
    a, b = normal(0, (1, 2000), 0.3), normal(1, (1, 2000))
    found, margin = compare(a, b)
    half = 1.96 * standard_error(a - b)
    assert found.difference == pytest.approx((a - b).mean())
    assert found.low == pytest.approx(found.difference - half, abs=0.04 * half)
    assert found.high == pytest.approx(found.difference + half, abs=0.04 * half)
    assert margin == pytest.approx(1.96 * standard_error(b), rel=0.04)
    assert found.n == 2000


def test_pairing_removes_what_prompts_share() -> None:
    prompts, noise = 10 * normal(0, (1, 500)), 0.1 * normal(1, (1, 500))
    found, _ = compare(prompts + noise, prompts)
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error(noise), rel=0.06)


def test_seeds_add_their_own_variance() -> None:
    """Many seeds that differ, prompts that do not: the interval is that of the mean over seeds."""
    levels = normal(2, (40, 1))
    found, _ = compare(np.repeat(levels, 50, axis=1), np.zeros((1, 50)))
    half = 1.96 * standard_error(levels)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


def test_seed_and_prompt_variance_add_up() -> None:
    values = normal(3, (30, 1)) + normal(4, (1, 300))
    found, _ = compare(values, np.zeros((1, 300)))
    variance = values.mean(axis=1).var() / 30 + values.mean(axis=0).var() / 300
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.05)


def test_coverage() -> None:
    """The 95 % interval holds the true difference in about 95 % of 300 experiments (binomial, 4 sigma)."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        shared = rng.normal(size=(1, 100))
        found, _ = compare(shared + rng.normal(0.2, 1, (1, 100)), shared + rng.normal(0, 1, (1, 100)), resamples=1000)
        hits += found.low <= 0.2 <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_the_same_numbers_give_the_same_interval() -> None:
    a, b = normal(0, (2, 300)), normal(1, (1, 300))
    assert compare(a, b) == compare(a, b)
    assert compare(a, b) != compare(a, b, seed=1)


def test_large_sets_draw_as_small_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(0, (1, 300)), normal(1, (1, 300))
    shared = compare(a, b)
    monkeypatch.setattr("repro.harness.bootstrap._SHARED", 100)
    assert compare(a, b) == shared


def test_as_many_prompts_as_the_paper_has_fit_in_memory() -> None:
    """Two sets of 30,000: no array of prompts by prompts, which would take 29 GB."""
    a, b = normal(0, (1, 60_000), 0.02), normal(1, (1, 60_000))
    tracemalloc.start()
    found, _ = compare(a, b, groups=np.arange(60_000) // 2, resamples=500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e9
    assert (found.n, found.captions) == (60_000, 30_000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * standard_error(a - b), rel=0.1)


def test_not_worse_takes_the_margin_of_the_metric_where_it_has_one() -> None:
    """Of the toy world, where small is worse than its teacher by 0.1 with an interval, whatever the margin."""
    accuracy, *others = PROFILE.columns
    found = RecordSet.of(lines())
    (own,) = [judged for judged in judged_of(TABLE, found) if judged.claim.key == "near"]
    assert own.comparison is not None
    values = np.concatenate([np.arange(40) < 36] * 2).astype(float)
    assert own.comparison.margin == pytest.approx(1.96 * values.std() / np.sqrt(80), rel=0.1)
    for margin, verdict in ((0.01, Verdict.NOT_REPRODUCED), (0.1, Verdict.INCONCLUSIVE), (0.3, Verdict.REPRODUCED)):
        profile = replace(PROFILE, columns=(replace(accuracy, margin=margin), *others))
        better, near, _ = judge(TABLE.claims, partial(tested, table=TABLE, profile=profile, records=found))
        assert near.comparison == replace(own.comparison, margin=margin)
        assert near.verdict is verdict
        assert better.comparison is not None
        assert better.comparison.margin is None


def test_absent_values_are_left_out_of_both() -> None:
    a, b = normal(0, (1, 100)), normal(1, (1, 100))
    holed = np.where(np.arange(100) % 2, a, np.nan)
    assert compare(holed, b) == compare(a[:, 1::2], b[:, 1::2])
    with pytest.raises(ValueError, match="no prompt"):
        compare(np.full((1, 3), np.nan), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("low", "high", "strict", "tolerant"),
    [
        (0.0, 2.0, Verdict.REPRODUCED, Verdict.REPRODUCED),
        (-0.9, 2.0, Verdict.INCONCLUSIVE, Verdict.REPRODUCED),
        (-1.0, 2.0, Verdict.INCONCLUSIVE, Verdict.REPRODUCED),
        (-3.0, -0.1, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE),
        (-3.0, 0.0, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        (-3.0, -1.1, Verdict.NOT_REPRODUCED, Verdict.NOT_REPRODUCED),
    ],
)
def test_verdicts(low: float, high: float, strict: Verdict, tolerant: Verdict) -> None:
    compared = Comparison(difference=(low + high) / 2, low=low, high=high, n=10)
    assert compared.verdict is strict
    assert replace(compared, margin=1.0).verdict is tolerant


def test_prompt_sets_are_pooled_and_roles_that_nothing_measures_are_said() -> None:
    first, second, third = judged_of(TABLE, RecordSet.of(lines()))
    assert first.verdict is Verdict.REPRODUCED
    assert first.comparison is not None
    assert first.comparison.n == 80
    assert first.comparison.difference == pytest.approx(0.4)
    assert second.comparison is not None
    assert second.comparison.difference == pytest.approx(-0.1)
    assert (third.verdict, third.comparison) == (Verdict.NOT_TESTED, None)
    assert (third.column.label, difference(third)) == ("Text similarity", "the toy world has no metric of this")


def test_a_check_may_name_its_prompt_set() -> None:
    claim = Claim("one", "one set", at_least("prompt_alignment", "small", "big", prompts=("short",)))
    (judged,) = judged_of(replace(TABLE, claims=(claim,)), RecordSet.of(lines()))
    assert judged.comparison is not None
    assert judged.comparison.n == 40


def test_lower_is_better_turns_the_sign() -> None:
    values = [
        PerImage.of(np.full(20, level), variant=name, prompts=prompts, metric="distance", seed=0)
        for name, level in (("small", 1.0), ("big", 3.0))
        for prompts in ("short", "long")
    ]
    claim = Claim("lower", "small is nearer", at_least("distribution", "small", "big"))
    (judged,) = judged_of(replace(TABLE, claims=(claim,)), RecordSet.of([RUN, *values]))
    assert judged.comparison is not None
    assert judged.comparison.difference == pytest.approx(2.0)
    assert judged.verdict is Verdict.REPRODUCED


def test_without_values_a_claim_is_not_measured() -> None:
    kept: list[Line] = [line for line in lines() if not (isinstance(line, PerImage) and line.variant == "big")]
    first, *_ = judged_of(TABLE, RecordSet.of(kept))
    assert first.verdict is Verdict.NOT_MEASURED
    assert difference(first) == "big has no Accuracy of single images"


def test_values_of_different_prompts_are_refused() -> None:
    def shortened(line: Line) -> Line:
        cut = isinstance(line, PerImage) and (line.variant, line.prompts) == ("big", "long")
        return replace(line, values=line.values[:-1]) if cut else line  # type: ignore[union-attr,call-arg]

    with pytest.raises(RecordError, match="80 and 79 per-image values of accuracy cannot be paired"):
        judged_of(TABLE, RecordSet.of(map(shortened, lines())))


def test_seeds_of_unequal_length_are_refused() -> None:
    extra = PerImage.of(np.ones(39), variant="small", prompts="short", metric="accuracy", seed=1)
    with pytest.raises(RecordError, match="different numbers of images"):
        judged_of(TABLE, RecordSet.of([*lines(), extra]))


def test_seeds_must_agree_between_prompt_sets() -> None:
    extra = PerImage.of(np.ones(40), variant="small", prompts="short", metric="accuracy", seed=1)
    with pytest.raises(RecordError, match="different training seeds"):
        judged_of(TABLE, RecordSet.of([*lines(), extra]))


def test_images_of_one_caption_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    per_caption = rng.normal(size=(1, 60))
    repeated = np.repeat(per_caption, 5, axis=1)  # five equal images a caption carry the information of one
    zero, groups = np.zeros_like(repeated), np.repeat(np.arange(60), 5)
    clustered, _ = compare(repeated, zero, groups=groups)
    single, _ = compare(per_caption, np.zeros_like(per_caption))
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high))
    assert (clustered.n, clustered.captions) == (300, 60)
    naive, _ = compare(repeated, zero)
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def test_captions_of_different_sizes_weigh_by_their_images() -> None:
    values, groups = np.array([[1.0, 1.0, 1.0, 0.0]]), np.array([0, 0, 0, 1])
    found, _ = compare(values, np.zeros_like(values), groups=groups)
    assert found.difference == pytest.approx(0.75)
    assert (found.low, found.high) == (0.0, 1.0)


def test_rows_that_agree_on_every_image_decide_nothing() -> None:
    same = np.ones((1, 20))
    assert not compare(same, same)[0].differs
    assert compare(same, same - np.eye(1, 20))[0].differs
