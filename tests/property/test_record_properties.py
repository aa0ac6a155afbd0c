"""Whatever lines a file is made of, reading gives back what was written."""

from pathlib import Path
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from repro.harness.files import digest_json
from repro.harness.records import Curve, PerImage, Record, RecordSet, Run, Series, dumps, parse
from repro.harness.schema import Over, VoteLine
from repro.harness.votes.grouping import grouped, votes_of
from repro.harness.votes.vote import CRITERIA, Vote

RUN = Run(
    run="r", table="t", profile="p", commit=None, dirty=None, config={}, config_hash=digest_json({}), versions={},
    device="cpu", dtype="float32", data_hash="", weights_hash="",
    command="", start="", wall_seconds=0.0, peak_memory_bytes=0,
)  # fmt: skip

numbers = st.floats(allow_nan=False, allow_infinity=False)
sizes = st.floats(-1e100, 1e100, allow_subnormal=False)
names = st.text(min_size=1, max_size=8)
counts = st.integers(0, 10**6)
series = st.builds(
    Series,
    variant=names,
    metric=names,
    over=st.sampled_from(get_args(Over)),
    values=st.lists(numbers, min_size=1, max_size=5).map(tuple),
    n=counts,
    unit=names,
)
per_image = st.builds(
    PerImage,
    variant=names,
    prompts=names,
    metric=names,
    seed=counts,
    values=st.lists(st.none() | numbers, max_size=5).map(tuple),
)
records = st.builds(
    lambda variant, metric, value, n: Record.of(RUN, variant, metric, value, n=n), names, names, numbers, counts
)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    x = tuple(sorted(draw(st.sets(numbers, max_size=5))))
    y, error = (tuple(draw(st.lists(numbers, min_size=len(x), max_size=len(x)))) for _ in range(2))
    return Curve(variant=draw(names), metric=draw(names), x=x, y=y, error=error, n=draw(counts))


votes = st.builds(
    Vote,
    study=st.just("s"),
    prompt=names,
    image=st.integers(0, 2),
    criterion=st.sampled_from(CRITERIA),
    left=st.sampled_from("ab"),
    right=st.sampled_from("cd"),
    choice=st.sampled_from(("left", "right", "tie")),
    assessor=names,
    seconds=st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000),
    expected=st.sampled_from(("left", "right", "tie", "")),
)
vote_lines = st.lists(votes, min_size=1, max_size=1).map(lambda one: grouped(one)[0])
lines = st.lists(series | per_image | records | curves() | vote_lines, unique_by=lambda line: line.identity, max_size=8)


@given(lines=lines)
def test_reading_gives_back_what_was_written(lines: list[Series | PerImage | Record | Curve | VoteLine]) -> None:
    written = RecordSet.of([RUN, *lines])
    read = parse(dumps(written), Path("file"))
    assert read == written
    assert dumps(read) == dumps(written)


@given(lines=lines, data=st.data())
def test_the_text_does_not_depend_on_the_order(
    lines: list[Series | PerImage | Record | Curve | VoteLine], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations([RUN, *lines]))
    assert dumps(RecordSet.of(shuffled)) == dumps(RecordSet.of([RUN, *lines]))


@given(given=st.lists(votes, unique_by=lambda vote: vote.identity, max_size=12))
def test_votes_come_back_from_their_lines(given: list[Vote]) -> None:
    written = RecordSet.of([RUN, *grouped(given)])
    read = votes_of(parse(dumps(written), Path("file")).votes)
    assert sorted(read, key=lambda vote: vote.identity) == sorted(given, key=lambda vote: vote.identity)


@given(values=st.lists(sizes, min_size=1, max_size=5), digits=st.integers(1, 8))
def test_series_round_to_significant_digits(values: list[float], digits: int) -> None:
    made = Series.of("v", "m", values, over="replicate", digits=digits)
    assert made.n == len(values)
    assert Series.of("v", "m", made.values, over="replicate", digits=digits) == made
    assert all(
        abs(kept - value) <= abs(value) * 10 ** (1 - digits) for kept, value in zip(made.values, values, strict=True)
    )
