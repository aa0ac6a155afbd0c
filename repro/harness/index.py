"""The index of a results folder, to be read from top to bottom by somebody who checks the paper's claims.

First the rules, then every statement of the paper with what came of it, then all claims by how strong their evidence
is, then what could not be asked, then the pages.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from repro.harness.cells import DASH, markdown
from repro.harness.claim_words import ADJUSTED, RULE, cells, verdict_words
from repro.harness.claims import Judgement, Verdict
from repro.harness.files import EDITED
from repro.harness.page import joined
from repro.harness.result import Measured
from repro.harness.scope import NOT_IN_PAPER, Scope
from repro.harness.statements import Statement, statements

UNTESTED = (Verdict.NOT_MEASURED, Verdict.NOT_TESTED)
WORDS, NUMBERS = ("Verdict", "Claim", "Source", "Kind", "Metric"), ("Difference", "Margin", "p", "Seeds")

INTRODUCTION = """\
What the paper says, asked again: each claim is a comparison that was declared, with its margin, before these records
were measured, some of them after earlier records had been seen: which ones, and what was known by then, stands in [how
a claim gets its verdict](../docs/decisions/verdicts.md). Numbers of a world hold in that world alone; the column
*World* says which one it is.
"""


class Strength(StrEnum):
    """How much stands behind a claim, the most first."""

    SEEDS = "Over several training seeds"
    UNTRAINED = "Without training"
    ONE_SEED = "One training seed"
    SECONDARY = "Secondary, not adjusted"
    OWN = "Not in the paper"
    OWN_SECONDARY = "Not in the paper, secondary, not adjusted"


MEANING: Mapping[Strength, str] = {
    Strength.SEEDS: "Every student was distilled several times: what is said holds for the recipe.",
    Strength.UNTRAINED: "Nothing was trained for the comparison: the teacher, its latents, the clock.",
    Strength.ONE_SEED: "One distillation of each student: what is said holds for these; another seed may differ.",
    Strength.SECONDARY: "Beside the claims above, each with a p of its own: hints, not findings.",
    Strength.OWN: "Questions of this project, apart from the paper's: p are adjusted over those of a page.",
    Strength.OWN_SECONDARY: "Beside those, each with a p of its own: hints, not findings.",
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
        return self.judgement.is_measured

    @property
    def is_own(self) -> bool:
        """Whether it is a question of this project, not a claim of the paper."""
        return self.judgement.claim.source == NOT_IN_PAPER

    @property
    def compared(self) -> str:
        """The rows that it compares, and what else was held fixed."""
        scope = self.judgement.claim.scope
        rows = " against ".join(f"`{row}`" for row in scope.rows[:2])
        more = "".join(f", `{row}`" for row in scope.rows[2:])
        return rows + more + (f", {scope.conditions}" if scope.conditions else "")

    @property
    def comparing(self) -> tuple[str, tuple[str, ...], str, Scope]:
        """What is compared, whatever page or statement asks it: in a world and metric, which rows in what way."""
        profile = self.result.profile
        sets = tuple(prompts.key for prompts in profile.prompt_sets)
        return profile.name, sets, self.judgement.column.key, self.judgement.claim.scope

    @property
    def rank(self) -> tuple[bool, int]:
        """Measured before unmeasured, then by training seeds."""
        return self.is_measured, self.seeds or 0

    @property
    def seeds(self) -> int | None:
        """Training seeds behind it; None where nothing was trained."""
        compared = self.judgement.comparison
        return None if compared is None else compared.seeds

    @property
    def strength(self) -> Strength:
        """How much stands behind it."""
        if self.is_own:
            return Strength.OWN if self.judgement.is_primary else Strength.OWN_SECONDARY
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
        f"{len(rows)} statements of the paper and its project page, in our words, of which {asked} are asked. With "
        "each verdict stand the rows that were compared, metrics and page; where a claim was measured over several "
        "training seeds, that verdict alone."
    )
    return ["## What the paper says", head, markdown(["Where", "Statement", "What came of it"], rows, left=3)]


def _outcome(statement: Statement, tested: Sequence[Tested]) -> str:
    """Verdicts of the strongest claims of a statement, and the metrics in which it was asked without an answer."""
    of_it = {one.comparing for one in tested if one.judgement.claim.statement == statement.key}
    asked = [one for one in tested if one.comparing in of_it]  # also where another statement asks the same
    if not asked:
        return statement.not_asked or str(Verdict.NOT_MEASURED)
    several = len({one.result.profile.name for one in tested}) > 1
    names: dict[str, dict[str, list[str]]] = {}
    for one in filter(lambda one: one.is_measured, _strongest(asked)):
        where = f"`{one.result.profile.name}`, {one.link}" if several else one.link
        compared = names.setdefault(f"**{verdict_words(one.judgement)}**", {}).setdefault(
            f"{one.compared}; {where}", []
        )
        compared.append(one.judgement.column.label)
    found = [
        f"{word} ({_metrics(labels)}: {rows})" for word, by_rows in names.items() for rows, labels in by_rows.items()
    ]
    return "; ".join([*found, *(_unanswered(verdict, asked) for verdict in UNTESTED if _unanswered(verdict, asked))])


def _unanswered(verdict: Verdict, asked: Sequence[Tested]) -> str:
    """The metrics of claims that got this verdict on every page that has them."""
    labels = [one.judgement.column.label for one in _strongest(asked) if one.judgement.verdict is verdict]
    return f"{verdict}: {_metrics(labels)}" if labels else ""


def _metrics(labels: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(labels))


def _strongest(found: Iterable[Tested]) -> list[Tested]:
    """Of the same comparison on several pages the one that was measured over most training seeds."""
    best: dict[tuple[str, tuple[str, ...], str, Scope], Tested] = {}
    for one in found:
        if one.comparing not in best or one.rank > best[one.comparing].rank:
            best[one.comparing] = one
    return list(best.values())


def _by_strength(tested: Sequence[Tested]) -> list[str]:
    """All claims that were measured, the best founded first; of one on two pages that over more seeds."""
    groups: dict[Strength, list[Tested]] = {strength: [] for strength in Strength}
    found_once = [one for one in _strongest(tested) if one.is_measured]
    for one in found_once:
        groups[one.strength].append(one)
    if not any(groups.values()):
        return ["## Claims", "None was tested yet."]
    blocks = ["## Claims by the strength of their evidence", _counts(found_once), RULE]
    for strength, found in groups.items():
        blocks += [f"### {strength}", MEANING[strength], _claims(found)] if found else []
    return blocks


def _counts(measured: Sequence[Tested]) -> str:
    """How many of each verdict, without this project's own claims."""
    found = [one.judgement.verdict for one in measured if not one.is_own]
    parts = [f"{found.count(verdict)} {verdict}" for verdict in Verdict if found.count(verdict)]
    own = len(measured) - len(found)
    beside = f" {own} more {'is' if own == 1 else 'are'} not in the paper." if own else ""
    counted = f"Of {len(found)} claims of the paper that were measured, {', '.join(parts)}." if found else ""
    once = "A comparison that stands on two pages counts once, where it has more training seeds."
    return f"{counted}{beside} {once}".strip()


def _claims(found: Sequence[Tested]) -> str:
    adjusted = all(one.judgement.is_primary for one in found)
    numbers = [ADJUSTED if head == "p" and adjusted else head for head in NUMBERS]
    rows = [
        [*cells(one.judgement, WORDS), one.link, f"`{one.result.profile.name}`", *cells(one.judgement, NUMBERS)]
        for one in found
    ]
    heads = [*WORDS, "Page", "World", *numbers]
    return markdown(heads, rows, left=len(heads) - len(numbers))


def _untested(tested: Sequence[Tested]) -> list[str]:
    """What was not asked, by reason."""
    reasons: dict[tuple[str, str], dict[str, list[str]]] = {}
    for one in _strongest(tested):
        if not one.is_measured:
            because = f"{one.judgement.verdict}: {cells(one.judgement, ('Difference',))[0]}"
            claims = reasons.setdefault((one.link, because), {})
            claims.setdefault(one.judgement.claim.text, []).append(one.judgement.column.label)
    lines = [
        f"- {link}, {because}. " + "; ".join(f"{text} ({_metrics(labels)})" for text, labels in claims.items())
        for (link, because), claims in reasons.items()
    ]
    head = "Claims about metrics or rows that a world does not have, or that were not measured yet."
    return ["## Not tested", head, "\n".join(lines)] if lines else []


def _pages(results: Sequence[Measured[Any]]) -> list[str]:
    rows = [
        [f"[{r.title}]({r.stem}.md)", f"`{r.profile.name}`", r.records.date or DASH, *_reproduced(r)] for r in results
    ]
    heads = ["Page", "World", "Measured", "Claims of the paper reproduced", "Secondary ones", "Our own"]
    return ["## Tables and figures", markdown(heads, rows, left=3) if rows else "None yet."]


def _reproduced(result: Measured[Any]) -> Iterator[str]:
    """How many of the paper's primary claims, of its secondary ones and of our own came out as they say."""
    found = [Tested(judgement, result) for judgement in result.judgements if judgement.is_measured]
    primary = [one for one in found if not one.is_own and one.judgement.is_primary]
    secondary = [one for one in found if not one.is_own and not one.judgement.is_primary]
    for group in (primary, secondary, [one for one in found if one.is_own]):
        reproduced = sum(one.judgement.verdict is Verdict.REPRODUCED for one in group)
        yield f"{reproduced} of {len(group)}" if group else DASH
