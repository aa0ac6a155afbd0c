"""What the command line asks of a figure of preferences."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

from repro.harness import arguments
from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.preference.declare import PreferenceFigure


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceOptions(RunOptions):
    """How preferences are found.

    Args:
        votes: export of a study; None for the proxy by a metric.
        scores: CSV of scores of the study's images, whose agreement with the votes is asked; None for none.
        keep_careless: whether votes of careless assessors count.
        records: where the proxy's values per image come from; None for the source table's own records.
        change: whether votes may take the place of a proxy's records, and the other way round.
    """

    votes: Path | None = None
    scores: Path | None = None
    keep_careless: bool = False
    records: Path | None = None
    change: bool = False


def add_arguments(parser: ArgumentParser) -> None:
    """Of the kind."""
    parser.add_argument(
        "--votes",
        type=arguments.path,
        metavar="FILE",
        help="votes of a study: .jsonl or .csv as it exports them, or .json of Label Studio (default: none, a proxy by "
        "the profile's first metric, from the records of a table)",
    )
    parser.add_argument(
        "--scores",
        type=arguments.path,
        metavar="CSV",
        help="with --votes: prompt, image, system, score of the study's images; says how far the metric agrees",
    )
    parser.add_argument(
        "--keep-careless", action="store_true", help="with --votes: count assessors who fail the attention checks too"
    )
    parser.add_argument(
        "--records",
        type=arguments.path,
        metavar="FILE",
        help="without --votes: records with values per image, of another place",
    )


def make_options(figure: PreferenceFigure, profile: Profile, typed: Namespace, common: RunOptions) -> PreferenceOptions:
    """Check what can be checked without reading.

    Raises:
        UsageError: options that exclude each other, a file that is not there, or no pairs in this profile.
    """
    if not figure.pairs_of(profile):
        raise UsageError(f"{figure.key} has no pairs in profile {profile.name}")
    if typed.votes is None and (typed.scores is not None or typed.keep_careless):
        raise UsageError(f"{'--scores' if typed.scores is not None else '--keep-careless'} needs --votes")
    if typed.votes is not None and typed.records is not None:
        raise UsageError("--records is of the proxy by a metric, which --votes takes the place of: choose one")
    for path in (typed.votes, typed.scores, typed.records):
        if path is not None and not path.is_file():
            raise UsageError(f"no such file: {path}")
    return PreferenceOptions.extending(
        common,
        votes=typed.votes,
        scores=typed.scores,
        keep_careless=typed.keep_careless,
        records=typed.records,
        change=typed.replace,
    )
