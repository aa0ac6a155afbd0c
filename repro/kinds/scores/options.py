"""What the command line adds to a table of scores: which students."""

from argparse import Namespace
from dataclasses import dataclass

from repro.harness.kind import student_seeds
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.scores.declare import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresOptions(RunOptions):
    """Options of a table of scores.

    Args:
        seeds: training seeds of the students.
        retrain: distil the students again in place of the shipped adapters.
    """

    seeds: tuple[int, ...] = (0,)
    retrain: bool = False


def make_options(table: Table, profile: Profile, typed: Namespace, common: RunOptions) -> ScoresOptions:
    """The students that were asked for."""
    return ScoresOptions.extending(common, seeds=student_seeds(profile, typed), retrain=typed.retrain)
