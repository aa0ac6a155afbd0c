"""The page of a claim in the logbook: verdict, scope, hardware, time and records."""

from collections.abc import Mapping
from dataclasses import dataclass

from repro.harness.claim_words import RULE, cells, verdict_words
from repro.harness.claims import Judgement
from repro.harness.exports.book_page import BookPage, pairs, warnings
from repro.harness.scope import Scope


@dataclass(frozen=True, slots=True)
class ClaimPage(BookPage):
    """A claim in a result.

    Args:
        judgement: what came of it.
    """

    judgement: Judgement

    @property
    def name(self) -> str:
        """That of the claim."""
        return self.judgement.claim.key.replace("_", " ")

    @property
    def status(self) -> str:
        """The verdict."""
        return verdict_words(self.judgement)

    def parts(self) -> Mapping[str, str]:
        """Verdict and scope."""
        return {"Verdict": self._verdict(), "Scope": self._scope()}

    def _verdict(self) -> str:
        heads = ("Verdict", "Claim", "Source", "Kind", "Metric", "Difference", "Margin", "p", "Seeds")
        rows = [[head, cell] for head, cell in zip(heads, cells(self.judgement, heads), strict=True) if cell]
        blocks = [*warnings([self.result.profile]), pairs(rows)]
        if self.judgement.comparison:
            family = "" if self.judgement.is_primary else " This claim is secondary: its p is not adjusted."
            blocks += [f"A positive difference favours the claim; in brackets its 95 % interval.{family}", RULE]
        return "\n\n".join(blocks)

    def _scope(self) -> str:
        profile, scope = self.result.profile, self.judgement.claim.scope
        rows = [
            ["Profile", f"`{profile.name}`: {profile.caption}"],
            ["Experiment", f"{self.result.title}. {self.result.experiment.question}"],
            ["Compared", " and ".join(f"`{row}`" for row in scope.rows)],
            ["Prompt sets", ", ".join(self._prompt_sets(scope))],
            ["Conditions", scope.conditions],
            ["N", self._n()],
        ]
        return pairs([row for row in rows if row[1]])

    def _prompt_sets(self, scope: Scope) -> list[str]:
        sets = self.result.profile.prompt_sets
        column = self.judgement.column
        wanted = [found for found in sets if scope.prompts is None or found.key in scope.prompts]
        return [f"{found.label} (`{found.key}`)" for found in wanted if column.is_of(found.key)]

    def _n(self) -> str:
        compared = self.judgement.comparison
        if compared is None:
            return ""
        captions = f", of {compared.captions:,} different captions" if compared.captions else ""
        return f"{compared.n:,} paired values{captions}"
