"""What the command line adds to a table of scores: which students."""

from argparse import Namespace
from dataclasses import dataclass

from repro.harness.kind import UsageError
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
    """The students that were asked for.

    Raises:
        UsageError: seeds that repeat or are negative, or of students that are not shipped.
    """
    seeds = tuple(typed.seeds or profile.seeds)
    shown = " ".join(map(str, seeds))
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds must be different and not negative, got {shown}")
    if not typed.retrain and seeds != tuple(profile.seeds[:1]):
        raise UsageError(f"--seeds {shown} needs --retrain: only seed {profile.seeds[0]} is shipped")
    return ScoresOptions.extending(common, seeds=seeds, retrain=typed.retrain)
