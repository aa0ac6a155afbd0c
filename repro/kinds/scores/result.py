"""What was measured of a table of scores, and its claims tested."""

from functools import cached_property, partial

from repro.harness.claims import Judgement, judge
from repro.harness.result import Measured
from repro.kinds.scores.declare import Table
from repro.kinds.scores.judge import tested


class ScoresResult(Measured[Table]):
    """Scores of a table's rows, and the verdicts."""

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim with its verdict."""
        compare = partial(tested, table=self.experiment, profile=self.profile, records=self.records)
        return judge(self.experiment.claims, compare)
