"""The index of results: claims by the strength of their evidence, statements of the paper with what came of them."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from harness_world import PROFILE

from repro import experiments
from repro.harness.claims import Comparison, Judgement, NoComparison, Verdict, judge
from repro.harness.experiment import Column, Experiment, Variant
from repro.harness.index import index
from repro.harness.inference import Part, Spread
from repro.harness.profile import Profile
from repro.harness.result import Measured
from repro.harness.schema import RecordSet
from repro.harness.scope import NOT_IN_PAPER
from repro.harness.statements import Statement, statements
from repro.kinds.scores.declare import Claim, better

COLUMN = Column("accuracy", "Accuracy", better="higher", margin=0.1, digits=2)


@dataclass(frozen=True)
class Judged(Measured[Experiment]):
    """A result with these claims."""

    found: tuple[Judgement, ...] = field(default=())

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        return self.found


def claim(key: str, rows: tuple[str, str] | None = None, **changes: Any) -> Claim:
    """A claim about rows of its own, unless they are named."""
    return Claim(key, f"Claim {key}", better("prompt_alignment", *(rows or (key, "b"))), **changes)


def compared(difference: float, seeds: int | None) -> Comparison:
    spread = Spread((Part(0.01**2, 50.0),))
    return Comparison(difference=difference, spread=spread, kind="better", margin=0.1, n=9, seeds=seeds)


def result(
    key: str, *found: tuple[Claim, Comparison | NoComparison], of: str = "", profile: Profile = PROFILE
) -> Judged:
    outcomes = {claim.key: outcome for claim, outcome in found}
    judged = judge([claim for claim, _ in found], lambda claim: (COLUMN, outcomes[claim.key]))
    variant = Variant(of, "more", "more") if of else None
    return Judged(Experiment(key=key, title=key, question="?", variant=variant), profile, RecordSet(), judged)


def section(page: str, title: str) -> str:
    return page.split(f"# {title}\n", 1)[1].split("\n#", 1)[0]


def test_claims_stand_by_the_strength_of_their_evidence() -> None:
    page = index(
        [
            result(
                "one",
                (claim("seeded"), compared(0.5, 5)),
                (claim("single"), compared(-0.5, 1)),
                (claim("clock"), compared(0.5, None)),
                (claim("hint", primary=False), compared(0.5, 5)),
                (claim("unasked"), NoComparison(Verdict.NOT_TESTED, "no metric of this")),
                (claim("ours", primary=False, source=NOT_IN_PAPER), compared(0.5, 5)),
            )
        ]
    )
    assert "**reproduced** | Claim seeded" in section(page, "Over several training seeds")
    assert "**worse by 0.50** | Claim single" in section(page, "One training seed")
    assert "Claim clock" in section(page, "Without training")
    hints = section(page, "Secondary, not adjusted")
    assert "Claim hint" in hints
    assert "p, Holm" not in hints
    assert "Claim ours" not in hints
    assert "Claim ours" in section(page, "Not in the paper")
    assert ", not tested: no metric of this. Claim unasked (Accuracy)" in section(page, "Not tested")
    assert "Of 4 claims of the paper that were measured, 3 reproduced, 1 worse. 1 more is not in the paper." in page


def line_of(page: str, text: str) -> str:
    (line,) = [line for line in page.splitlines() if text in line and line.startswith("| v1")]
    return line


EQUAL_COST = "At about the cost of two full-resolution steps"


def test_of_one_claim_on_two_pages_the_one_over_more_seeds_counts_alone() -> None:
    asked = claim("equal_cost", ("a", "b"), statement="equal_cost", source="v1, Table 2")
    few = result("few", (asked, compared(0.5, 1)))
    page = index([few, result("many", (asked, compared(-0.5, 5)), of="few")])
    line = line_of(page, EQUAL_COST)
    assert "**worse by 0.50** (Accuracy: `a` against `b`; [many](many.md))" in line
    assert "few.md" not in line
    claims = page.split("## Claims by")[1].split("## Tables and figures")[0]
    assert "Of 1 claims of the paper that were measured, 1 worse." in claims
    assert claims.count("| v1, Table 2 |") == 1
    unmeasured = result("many", (asked, NoComparison(Verdict.NOT_MEASURED, "no clock")), of="few")
    assert "**reproduced** (Accuracy: `a` against `b`; [few](few.md))" in line_of(index([few, unmeasured]), EQUAL_COST)


def test_one_comparison_on_two_sets_of_prompts_is_two() -> None:
    rows = ("small", "big")
    profiles = [replace(PROFILE, prompt_sets=(prompts,)) for prompts in PROFILE.prompt_sets]
    tables = [
        result(f"table{n}", (claim(f"c{n}", rows, source="v1"), compared(gap, 5)), profile=profile)
        for n, gap, profile in zip((5, 7), (0.5, -0.5), profiles, strict=True)
    ]
    page = index(tables)
    assert "Claim c5" in page
    assert "Claim c7" in page


def test_the_same_comparison_under_two_statements_has_one_verdict() -> None:
    """Of one training seed under one statement, of five under another: that of five is told for both."""
    one = result("table4", (claim("same", ("a", "b"), statement="beats_same_losses"), compared(0.5, 1)))
    five = result("table2_seeds", (claim("steps", ("a", "b"), statement="equal_cost"), compared(-0.5, 5)))
    page = index([one, five])
    assert "Of 1 claims of the paper that were measured, 1 worse." in page
    (line,) = [line for line in page.splitlines() if "of the same losses and faster" in line]
    assert "**worse by 0.50** (Accuracy: `a` against `b`; [table2_seeds]" in line
    assert "reproduced" not in line


def test_an_outcome_names_rows_worlds_and_what_was_not_measured() -> None:
    other = replace(better("prompt_alignment", "c", "d"))
    rows = {"one": "a", "two": "x", "three": "y", "four": "z"}
    asked = [claim(key, (row, "b"), statement="equal_cost") for key, row in rows.items()]
    asked[1] = replace(asked[1], check=other)
    found = result(
        "page",
        (asked[0], compared(0.5, 1)),
        (asked[1], compared(-0.5, 1)),
        (asked[2], NoComparison(Verdict.NOT_MEASURED, "too slow")),
        (asked[3], NoComparison(Verdict.NOT_TESTED, "no metric")),
    )
    line = line_of(index([found]), EQUAL_COST)
    for part in (
        "(Accuracy: `a` against `b`;",
        "(Accuracy: `c` against `d`;",
        "; not measured: Accuracy; not tested: Acc",
    ):
        assert part in line
    elsewhere = result("page", (asked[0], compared(-0.5, 1)), profile=replace(PROFILE, name="moon"))
    line = line_of(index([found, elsewhere]), EQUAL_COST)
    assert "**worse by 0.50** (Accuracy: `a` against `b`; `moon`, [" in line
    assert "`toy`, [page]" in line


def test_a_statement_that_nothing_asks_says_why_and_one_that_was_not_measured_says_so() -> None:
    page = index([result("one", (claim("equal_cost", statement="equal_cost"), compared(0.5, 1)))])
    lines = [
        line for line in page.splitlines() if line.startswith(("| v1", "| v2", "| project page", "| the released"))
    ]
    assert len(lines) == len(statements())
    assert sum("There are no assessors here" in line for line in lines) == 1
    assert sum("not measured" in line for line in lines) == sum(not one.not_asked for one in statements().values()) - 1


def test_without_claims_there_are_only_pages() -> None:
    page = index([result("one")])
    assert "None was tested yet." in page
    assert "## What the paper says" not in page
    assert "[one](one.md)" in page


def declared() -> list[tuple[str, str]]:
    """Of every declared claim its experiment's key and the key of its statement."""
    found = []
    for experiment in experiments().values():
        for name in ("claims", "contrasts"):
            found += [(experiment.key, one.statement) for one in getattr(experiment, name, ())]
    return found


def test_claims_name_statements_of_the_paper() -> None:
    assert {statement for _, statement in declared()} - {""} <= statements().keys()


@pytest.mark.parametrize("statement", statements().values(), ids=lambda statement: statement.key)
def test_every_statement_is_asked_by_a_claim_or_says_why_not(statement: Statement) -> None:
    asked = any(statement.key == key for _, key in declared())
    assert asked != bool(statement.not_asked)


def test_at_least_twenty_statements_are_asked() -> None:
    assert sum(not statement.not_asked for statement in statements().values()) >= 20
