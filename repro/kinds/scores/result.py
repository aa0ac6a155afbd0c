"""What was measured of a table of scores, and its claims tested."""

from dataclasses import dataclass, replace
from functools import cached_property, partial

from repro.harness.agreement import Cell, compared
from repro.harness.cells import estimate
from repro.harness.claims import Judgement, judge
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.plan import steps_of
from repro.harness.reported import Reported
from repro.harness.result import Measured
from repro.harness.schema import CAPTIONS, Record
from repro.kinds.scores.agreed_costs import agreed_costs
from repro.kinds.scores.costs import cost_columns
from repro.kinds.scores.declare import Table
from repro.kinds.scores.judge import tested


@dataclass(frozen=True)
class ScoresResult(Measured[Table]):
    """Scores of a table's rows, and the verdicts."""

    def __post_init__(self) -> None:
        """With the prompts that the table is about alone."""
        object.__setattr__(self, "profile", self.experiment.in_profile(self.profile))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The table's rows in this profile, then other systems that were measured from a folder of images."""
        declared = self.experiment.rows_in(self.profile.name)
        known = {row.key for row in self.experiment.rows} | {CAPTIONS}
        others = dict.fromkeys(record.variant for record in self.records.records if record.variant not in known)
        return (*declared, *(Row(name, name, images=True) for name in others))

    @property
    def is_published(self) -> bool:
        """Whether models and metrics are the published ones, of which one is in memory at a time."""
        return bool(self.profile.scorers)

    @property
    def scored_rows(self) -> tuple[Row, ...]:
        """Those of a model: real images are none."""
        return tuple(row for row in self.rows if not row.real)

    @property
    def score_columns(self) -> tuple[Column, ...]:
        """The metrics of the profile, and what a row costs."""
        return (*self.profile.columns, *cost_columns(self.experiment, self.records))

    @cached_property
    def costs(self) -> tuple[Column, ...]:
        """Columns of cost that were measured of any row."""
        columns = cost_columns(self.experiment, self.records)
        return tuple(c for c in columns if any(estimate(self.records.find(row.key, "", c.key)) for row in self.rows))

    def records_of(self, row: Row) -> list[Record]:
        """All of a row."""
        return [record for record in self.records.records if record.variant == row.key]

    def named(self, row: Row) -> str:
        """A row in a sentence: several rows may share a label."""
        steps = steps_of(self.profile, row)
        return row.label if steps is None else f"{row.label} at {steps} steps"

    def num_images(self, prompts: PromptSet) -> int:
        """Images that every row was asked for; 0 where the records do not say."""
        return len(self._captions(prompts))

    def num_captions(self, prompts: PromptSet) -> int:
        """Different captions among them."""
        return len(set(self._captions(prompts)))

    def _captions(self, prompts: PromptSet) -> tuple[float | None, ...]:
        found = self.records.values(CAPTIONS, prompts.key, CAPTIONS)
        return found[0].values if found else ()

    @cached_property
    def reported(self) -> Reported | None:
        """The publication whose numbers stand beside ours."""
        return self.experiment.reported_in(self.profile.name)

    @property
    def published_costs(self) -> tuple[Column, ...]:
        """What the publication says that rows cost, where it has the same models: others cost something else."""
        reported = self.reported
        return reported.costs if reported is not None and self.profile.name in reported.profiles else ()

    @cached_property
    def agreement(self) -> tuple[Cell, ...]:
        """Every published number that was measured again."""
        scores = compared(self.experiment.publications, self.rows, self.profile, self.records)
        return (*scores, *agreed_costs(self.experiment, self.rows, self.profile, self.records))

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim about rows of this profile, with its verdict."""
        here = {row.key for row in self.experiment.rows_in(self.profile.name)}
        claims = [claim for claim in self.experiment.claims if set(claim.check.rows) <= here]
        if self.is_published:
            claims = [replace(claim, text=claim.published_text or claim.text) for claim in claims]
        compare = partial(tested, table=self.experiment, profile=self.profile, records=self.records)
        return judge(claims, compare)
