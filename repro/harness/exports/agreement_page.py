"""The page of the published numbers in the logbook: which of them a result agrees with, by the rule of every page."""

from collections.abc import Mapping
from dataclasses import dataclass

from repro.harness.agreement import agreement, counted
from repro.harness.exports.book_page import BookPage, pairs, warnings


@dataclass(frozen=True, slots=True)
class AgreementPage(BookPage):
    """All published numbers that a result measured again."""

    @property
    def name(self) -> str:
        """The same of every result."""
        return "published numbers"

    @property
    def status(self) -> str:
        """How many came to each verdict."""
        return counted(self.result.agreement)

    def parts(self) -> Mapping[str, str]:
        """Every number with its verdict, and where it was measured."""
        profile = self.result.profile
        cells = self.result.agreement
        _, *blocks = agreement(cells, fold=len(cells))  # Trackio's viewer shows Markdown alone
        rows = [["Profile", f"`{profile.name}`: {profile.caption}"], ["Experiment", self.result.title]]
        return {"Verdict": "\n\n".join([*warnings([profile]), *blocks]), "Scope": pairs(rows)}
