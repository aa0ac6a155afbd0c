"""What the page of benchmarks is, as data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPage:
    """Times of the building blocks, from pytest-benchmark.

    Args:
        key: name on the command line and of the files.
        question: one sentence that the page answers, printed under the title.
        baseline: provider whose time is 1 in the comparison of providers.
        targets: provider -> the largest ratio to the baseline that we aim at.
        rounds: in which the providers take turns.
        left_out: files of benchmarks that have a page of their own.
        notes: paragraphs printed under the tables.
    """

    key: str
    title: str
    question: str
    baseline: str
    targets: dict[str, float]
    rounds: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
