"""The index of a results folder, to be read from top to bottom by somebody who checks the paper's claims.

First the rules, then every statement of the paper with what came of it, then all claims by how strong their evidence
is, then what could not be asked, then the pages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from repro.harness.cells import DASH, markdown
from repro.harness.claim_words import ADJUSTED, RULE, cells, verdict_words
from repro.harness.claims import Judgement, Verdict
from repro.harness.page import EDITED, joined
from repro.harness.result import Measured
from repro.harness.statements import Statement, statements

UNTESTED = (Verdict.NOT_MEASURED, Verdict.NOT_TESTED)
WORDS, NUMBERS = ("Verdict", "Claim", "Kind", "Metric"), ("Difference", "Margin", "p", "Seeds")

INTRODUCTION = """\
What the paper says, asked again: each claim is a comparison that was declared, with its margin, before these records
were measured; what was known by then from earlier ones stands in [how a claim gets its
verdict](../docs/decisions/verdicts.md). Numbers of a world hold in that world alone; below each of them stands which
one it is.
"""


class Strength(StrEnum):
    """How much stands behind a claim, the most first."""

    SEEDS = "Over several training seeds"
    UNTRAINED = "Without training"
    ONE_SEED = "One training seed"
    SECONDARY = "Secondary, not adjusted"


MEANING: Mapping[Strength, str] = {
    Strength.SEEDS: "Every student was distilled several times: what is said holds for the recipe.",
    Strength.UNTRAINED: "Nothing was trained for the comparison: the teacher, its latents, the clock.",
    Strength.ONE_SEED: "One distillation of each student: what is said holds for these; another seed may differ.",
    Strength.SECONDARY: "Beside the claims above, each with a p of its own: hints, not findings.",
}


@dataclass(frozen=True, slots=True)
class Tested:
    """A claim and where its page is."""

    judgement: Judgement
    result: Measured[Any]

    @property
    def link(self) -> str:
        """To the page."""
        return f"[{self.result.stem}]({self.result.stem}.md)"

    @property
    def is_measured(self) -> bool:
        """Whether it was measured, whatever came of it."""
        return self.judgement.verdict not in UNTESTED

    @property
    def seeds(self) -> int | None:
        """Training seeds behind it; None where nothing was trained."""
        compared = self.judgement.comparison
        return None if compared is None else compared.seeds

    @property
    def strength(self) -> Strength:
        """How much stands behind it."""
        if not self.judgement.is_primary:
            return Strength.SECONDARY
        if self.seeds is None:
            return Strength.UNTRAINED
        return Strength.SEEDS if self.seeds > 1 else Strength.ONE_SEED


def index(results: Sequence[Measured[Any]]) -> str:
    """The page.

    Args:
        results: what each records file holds, in the order of their names.
    """
    tested = [Tested(judgement, result) for result in results for judgement in result.judgements]
    profiles = {result.profile.name: result.profile for result in results}
    worlds = [f"- `{name}`: {profiles[name].caption}" for name in sorted(profiles)]
    blocks = [
        "# Results",
        INTRODUCTION.strip(),
        "\n".join(worlds),
        *_statements(tested),
        *_by_strength(tested),
        *_untested(tested),
        *_pages(results),
        EDITED,
    ]
    return joined(blocks)


def _statements(tested: Sequence[Tested]) -> list[str]:
    """Every sentence of the paper, and what came of the claims that ask it."""
    if not any(one.judgement.claim.statement for one in tested):
        return []
    rows = [[statement.where, statement.text, _outcome(statement, tested)] for statement in statements().values()]
    asked = sum(1 for one in statements().values() if not one.not_asked)
    head = (
        f"{len(rows)} statements of version 1, in our words, of which {asked} are asked. With each verdict stand its "
        "metrics and the page; where a claim was measured over several training seeds, that verdict alone."
    )
    return ["## What the paper says", head, markdown(["Where", "Statement", "What came of it"], rows, left=3)]


def _outcome(statement: Statement, tested: Sequence[Tested]) -> str:
    """Verdicts of the strongest claims of a statement: those over most training seeds, else all."""
    asked = [one for one in tested if one.judgement.claim.statement == statement.key]
    found = [one for one in asked if one.is_measured]
    if not found:
        return statement.not_asked or "not measured"
    names: dict[tuple[str, str], list[str]] = {}
    for one in _strongest(found):
        names.setdefault((verdict_words(one.judgement), one.link), []).append(one.judgement.column.label)
    return "; ".join(
        f"**{word}** ({', '.join(dict.fromkeys(labels))}, {link})" for (word, link), labels in names.items()
    )


def _strongest(found: Sequence[Tested]) -> list[Tested]:
    """Of the same claim in several tables the one over most training seeds."""
    best: dict[tuple[str, str], Tested] = {}
    for one in found:
        key = (one.judgement.claim.key, one.result.profile.name)
        if key not in best or (one.seeds or 0) > (best[key].seeds or 0):
            best[key] = one
    return list(best.values())


def _by_strength(tested: Sequence[Tested]) -> list[str]:
    """All claims that were measured, the best founded first."""
    groups: dict[Strength, list[Tested]] = {strength: [] for strength in Strength}
    for one in filter(lambda one: one.is_measured, tested):
        groups[one.strength].append(one)
    if not any(groups.values()):
        return ["## Claims", "None was tested yet."]
    blocks = ["## Claims by the strength of their evidence", _counts(tested), RULE]
    for strength, found in groups.items():
        blocks += [f"### {strength}", MEANING[strength], _claims(found)] if found else []
    return blocks


def _counts(tested: Iterable[Tested]) -> str:
    """How many of each verdict."""
    found = [one.judgement.verdict for one in tested if one.is_measured]
    parts = [f"{found.count(verdict)} {verdict}" for verdict in Verdict if found.count(verdict)]
    return f"Of {len(found)} claims that were measured, {', '.join(parts)}." if found else ""


def _claims(found: Sequence[Tested]) -> str:
    numbers = [ADJUSTED if head == "p" and found[0].judgement.is_primary else head for head in NUMBERS]
    rows = [
        [*cells(one.judgement, WORDS), one.link, f"`{one.result.profile.name}`", *cells(one.judgement, NUMBERS)]
        for one in found
    ]
    heads = [*WORDS, "Page", "World", *numbers]
    return markdown(heads, rows, left=len(heads) - len(numbers))


def _untested(tested: Sequence[Tested]) -> list[str]:
    """What was not asked, by reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in tested:
        if not one.is_measured:
            compared = cells(one.judgement, ("Difference",))[0]
            reasons.setdefault((one.link, f"{one.judgement.verdict}: {compared}"), []).append(
                one.judgement.column.label
            )
    lines = [
        f"- {link}: {len(labels)} in {', '.join(dict.fromkeys(labels))}, {reason}"
        for (link, reason), labels in reasons.items()
    ]
    return (
        ["## Not tested", "Claims about metrics or rows that a world does not have.", "\n".join(lines)] if lines else []
    )


def _pages(results: Sequence[Measured[Any]]) -> list[str]:
    rows = [
        [f"[{r.title}]({r.stem}.md)", f"`{r.profile.name}`", r.records.date or DASH, _reproduced(r)] for r in results
    ]
    heads = ["Page", "World", "Measured", "Claims reproduced"]
    return ["## Tables and figures", markdown(heads, rows, left=3) if rows else "None yet."]


def _reproduced(result: Measured[Any]) -> str:
    found = [judgement.verdict for judgement in result.judgements if judgement.verdict not in UNTESTED]
    return f"{found.count(Verdict.REPRODUCED)} of {len(found)}" if found else DASH
