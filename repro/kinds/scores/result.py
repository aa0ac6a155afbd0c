"""What was measured of a table of scores, and its claims tested."""

from functools import cached_property

from repro.harness.claims import Judgement
from repro.harness.result import Measured
from repro.kinds.scores.declare import Table
from repro.kinds.scores.judge import judge_all


class ScoresResult(Measured[Table]):
    """Scores of a table's rows, and the verdicts."""

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim with its verdict."""
        return tuple(judge_all(self.experiment, self.profile, self.records))
