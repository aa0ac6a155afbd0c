"""What was found of preferences: shares from the records, and what else follows from votes or values per image."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from repro.harness.published import published
from repro.harness.result import Measured
from repro.harness.schema import Record, RecordError
from repro.harness.votes.assessors import Assessor, assessors, attentive
from repro.harness.votes.grouping import votes_of
from repro.harness.votes.outcomes import Outcomes, answers, outcomes, studied
from repro.harness.votes.proxy import proxy_outcomes, scores_of
from repro.harness.votes.vote import Vote
from repro.kinds.preference import keys
from repro.kinds.preference.declare import Pair, PreferenceFigure


@dataclass(frozen=True)
class PreferenceResult(Measured[PreferenceFigure]):
    """Shares of wins by votes, or by a metric in place of people; never by both."""

    def __post_init__(self) -> None:
        metrics = {record.metric.partition(",")[0] for record in self.records.records}
        by_metric = bool(self.records.per_image) or keys.PROXY_SHARE in metrics
        by_votes = bool(self.records.votes) or keys.WIN_SHARE in metrics
        if by_metric and by_votes:
            raise RecordError(f"{self.stem}: holds votes and a proxy by a metric; one file has one of them")
        if not self.records.votes and not self.records.per_image:
            raise RecordError(f"{self.stem}: holds neither votes nor values per image")

    @property
    def is_proxy(self) -> bool:
        """Whether a metric judged, and no person."""
        return not self.records.votes

    @property
    def title(self) -> str:
        """Of the page; a proxy says that it is one."""
        own = self.experiment.title
        return f"{own} (proxy by a metric, no votes)" if self.is_proxy else own

    @property
    def config(self) -> Mapping[str, Any]:
        """Of the run."""
        return self.records.runs[0].config

    @property
    def proxy(self) -> Mapping[str, Any]:
        """Which metric judged, by what margin, from which records."""
        found: Mapping[str, Any] = self.config["proxy"]
        return found

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """In the order of the page."""
        return self.experiment.pairs_of(self.profile)

    @cached_property
    def questions(self) -> Mapping[str, str]:
        """Criteria that were asked, or the metric that judged: key -> label."""
        if self.is_proxy:
            column = self.profile.column(self.proxy["metric"])
            return {self.proxy["metric"]: column.label if column is not None else self.proxy["metric"]}
        asked = {vote.criterion for vote in self.used}
        return {key: label for key, label in self.experiment.criteria.items() if key in asked}

    @cached_property
    def votes(self) -> tuple[Vote, ...]:
        """All of them, attention checks and careless assessors too."""
        return tuple(votes_of(self.records.votes))

    @cached_property
    def used(self) -> tuple[Vote, ...]:
        """Votes that count, about pairs of the study."""
        return tuple(studied(self.votes if self.config["keep_careless"] else attentive(self.votes)))

    @cached_property
    def assessors(self) -> tuple[Assessor, ...]:
        """All who voted."""
        return tuple(assessors(self.votes))

    def share(self, pair: Pair, question: str) -> Record | None:
        """Share of wins with its interval."""
        name = keys.proxy_share(question) if self.is_proxy else keys.win_share(question)
        found = self.records.find(pair.key, "", name)
        return found[0] if found else None

    def outcomes(self, pair: Pair, question: str) -> Outcomes:
        """What came of every image."""
        if not self.is_proxy:
            return outcomes(self.used, pair.candidate, pair.baseline, question)
        systems, seed = (pair.candidate, pair.baseline), self.proxy["seed"]
        scores = scores_of(self.records, question, systems, seed)
        return proxy_outcomes(scores, *systems, margin=self.proxy["margin"], sign=self.proxy["sign"])

    def units(self, criterion: str) -> list[list[str]]:
        """Answers about each image of every pair, for agreement among assessors."""
        return [
            [str(one) for one in given]
            for pair in self.pairs
            for given in answers(self.used, pair.candidate, pair.baseline, criterion).values()
        ]

    def published(self, pair: Pair, criterion: str) -> float | None:
        """The published share of a pair; None where there is none."""
        if pair.reported is None or not self.experiment.reported:
            return None
        lines = published(self.experiment.reported)
        found = [line for line in lines if all(line.get(key) == cell for key, cell in pair.reported.items())]
        return float(found[0][criterion]) if found and found[0].get(criterion) else None
