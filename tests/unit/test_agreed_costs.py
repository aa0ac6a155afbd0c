"""Latency and parameters of Table 4 beside the published ones: what can be compared is, and the rest says why not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness_world import RUN, record

from repro.harness.agreement import Cell, Verdict
from repro.harness.schema import RecordSet
from repro.kinds.scores.agreed_costs import UNKNOWN, agreed_costs
from repro.kinds.scores.clocked import differences, timed_under
from repro.kinds.scores.declare import Table, TimedUnder
from repro.kinds.scores.page import page
from repro.kinds.scores.result import ScoresResult
from repro.profiles import load_profile
from repro.table4 import TABLE, V1

MEDIUM = load_profile("sd35-medium")
A100 = "NVIDIA A100-SXM4-80GB"
UNCOMPILED = replace(TABLE, published_clock=replace(TABLE.published_clock, compiled=False))  # type: ignore[type-var]


def run(device: str = A100, *, tiny_vae: bool = True, batch_size: int = 8, dtype: str = "float16") -> Any:
    config = {
        "profile": {"execution": {"tiny_vae": tiny_vae}},
        "clock": {"batch_size": batch_size, "rounds": 15, "warmup": 1},
        "rows": {"swd_medium_6 seed 0": {"own_dtype": dtype}},
    }
    return replace(RUN, table="table4", profile=MEDIUM.name, device=device, config=config)


def cells(metric: str, value: float, made: Any, table: Table = TABLE) -> dict[str, Cell]:
    """By publication."""
    ours = record("swd_medium_6", "", metric, value, ci_low=value, ci_high=value, n=15)
    found = agreed_costs(table, table.rows_in(MEDIUM.name), MEDIUM, RecordSet.of([*([made] if made else []), ours]))
    assert {cell.column.key for cell in found} == {metric}
    return {cell.publication: cell for cell in found}


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.17, "agrees"), (0.186, "agrees"), (0.2, "differs"), (0.1, "differs")]
)
def test_seconds_are_compared_where_they_were_measured_as_the_papers(value: float, verdict: str) -> None:
    cell = cells("latency", value, run(), UNCOMPILED)[V1.label]
    assert (cell.published, cell.verdict, cell.reason) == (0.17, Verdict(verdict), "")
    assert cell.tolerance == pytest.approx(0.017)


@pytest.mark.parametrize(
    ("made", "table", "reason"),
    [
        (run(), TABLE, "ours was timed without torch.compile"),
        (run("NVIDIA H100 80GB HBM3"), UNCOMPILED, "ours was timed on NVIDIA H100 80GB HBM3, not on an A100"),
        (run(tiny_vae=False), UNCOMPILED, "ours was timed with the full VAE"),
        (run(batch_size=1), UNCOMPILED, "ours was timed in batches of 1, not 8"),
        (run(dtype="bfloat16"), UNCOMPILED, "ours was timed in bfloat16, not float16"),
        (
            run(dtype="float32", batch_size=2),
            TABLE,
            "ours was timed in float32, not float16, in batches of 2, not 8, without torch.compile",
        ),
        (None, TABLE, UNKNOWN),
    ],
)  # fmt: skip
def test_seconds_of_another_machine_or_setting_are_not_comparable(made: Any, table: Table, reason: str) -> None:
    for cell in cells("latency", 0.17, made, table).values():
        assert (cell.verdict, cell.reason) == (Verdict.NOT_COMPARABLE, reason)


@pytest.mark.parametrize(
    ("count", "v1", "v2"), [(2.0e9, "agrees", "differs"), (2.24e9, "differs", "agrees"), (2.26e9, "differs", "differs")]
)
def test_parameters_are_compared_as_they_are_printed_wherever_they_were_counted(count: float, v1: str, v2: str) -> None:
    found = cells("parameters", count, run("a laptop", tiny_vae=False))
    assert [cell.verdict for cell in found.values()] == [Verdict(v1), Verdict(v2)]


def test_the_page_shows_both_with_reasons() -> None:
    ours = [record("swd_medium_6", "", "latency", 0.3), record("swd_medium_6", "", "parameters", 2.24e9)]
    result = ScoresResult(TABLE, MEDIUM, RecordSet.of([run(), *ours]))
    text = page(result, Path("nowhere"))
    assert "measured again here: 1 agrees, 1 differs, 2 not comparable." in text
    assert text.count("- Latency, 1 not comparable: ours was timed without torch.compile.") == 2
    (line,) = [line for line in text.splitlines() if "**differs**" in line]
    assert [cell.strip() for cell in line.split("|")][5:10] == ["Parameters", "2.00", "2.24", "+0.24", "0.05"]


def test_a_row_without_a_number_is_compared_with_nothing() -> None:
    empty = record("swd_medium_6", "", "latency", None, note="Out of memory.")
    assert agreed_costs(TABLE, TABLE.rows, MEDIUM, RecordSet.of([run(), empty])) == ()
    mini = RecordSet.of([run(), record("scalewise_6", "", "latency", 0.1)])
    assert agreed_costs(TABLE, TABLE.rows, load_profile("mini"), mini) == ()


def test_the_newest_run_says_under_what_a_row_was_timed() -> None:
    older = replace(run("a laptop"), run="older", start="2024-01-01T00:00:00Z")
    found = timed_under(TABLE, MEDIUM, RecordSet.of([older, run()]), "swd_medium_6")
    assert found == TimedUnder(device=A100, dtype="float16", batch_size=8, compiled=False, tiny_vae=True)
    assert differences(found, found) == ""
