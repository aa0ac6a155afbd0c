"""`study report`: what votes say, as Markdown. Anybody can make it again from the exported files alone."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from repro.harness.votes import files
from repro.harness.votes.assessors import RULE, Assessor, assessors, attentive, quartiles
from repro.harness.votes.davidson import davidson
from repro.harness.votes.files import VoteError
from repro.harness.votes.krippendorff import alpha
from repro.harness.votes.outcomes import answers, outcomes, studied
from repro.harness.votes.shares import share, sign_test
from repro.harness.votes.vote import CRITERIA, Vote
from repro.study.database import Database
from repro.study.definition import load_study
from repro.study.errors import StudyError
from repro.study.export import read_votes

MISSING = "-"
SHARES = ("pair", "question", "share of wins", "95 %", "wins, halves, losses", "sign test p", "alpha")

PEOPLE = ("assessor", "votes", "attention checks right", "left of left or right", "median seconds")


def gather(paths: Iterable[Path]) -> list[Vote]:
    """The votes of study files and of files of votes together.

    Raises:
        StudyError: a study without votes, or a vote that occurs twice.
        VoteError: a file that cannot be read.
    """
    votes = [vote for path in paths for vote in _votes(path)]
    if len({vote.identity for vote in votes}) < len(votes):
        raise StudyError("a vote occurs in two of the files; expected each once")
    return votes


def report(votes: Sequence[Vote], *, keep_all: bool = False) -> str:
    """Shares of wins, strengths, agreement, assessors and time, of each study apart: their images are others.

    Args:
        votes: of one or more studies, attention checks among them.
        keep_all: whether votes of careless assessors count.
    """
    studies = sorted({vote.study for vote in votes})
    parts = ([vote for vote in votes if vote.study == study] for study in studies)
    return "\n".join(_of_study(part, keep_all=keep_all) for part in parts)


def _of_study(votes: Sequence[Vote], *, keep_all: bool) -> str:
    kept = list(votes) if keep_all else attentive(votes)
    people = assessors(votes)
    sections = [
        f"# Preferences: {votes[0].study}",
        _counts(kept, people, keep_all=keep_all),
        "The first of a pair is the one that wins. Each image by the majority of its assessors, ties and disagreement "
        "half; intervals from a bootstrap over prompts; the sign test is over prompts; alpha is Krippendorff's.",
        _table(SHARES, _shares(kept)),
        *_strengths(kept),
        "## Assessors",
        _table(PEOPLE, _people(people)),
    ]
    return "\n\n".join(sections) + "\n"


def _votes(path: Path) -> Sequence[Vote]:
    if path.suffix != ".toml":
        return files.read(path)
    study = load_study(path)
    found = list(read_votes(Database(study.database), study)) if study.database.exists() else []
    if not found:
        raise StudyError(f"{path} has no votes yet")
    return found


def _counts(kept: Sequence[Vote], people: Sequence[Assessor], *, keep_all: bool) -> str:
    careless = [person.name for person in people if person.is_careless]
    low, middle, high = quartiles(kept)
    text = f"{len(studied(kept)):,} votes of {len({vote.assessor for vote in kept})} assessors"
    text += f"; {middle:.1f} s a vote (quartiles {low:.1f} and {high:.1f})."
    if careless:
        done = "counted all the same" if keep_all else "left out"
        text += f" Fewer than {RULE.share:.0%} of attention checks right, and {done}: {', '.join(careless)}."
    return text


def _shares(votes: Sequence[Vote]) -> list[list[str]]:
    systems = sorted({system for vote in studied(votes) for system in (vote.left, vote.right)})
    return [
        _share(votes, pair, criterion)
        for pair in combinations(systems, 2)
        for criterion in CRITERIA
        if answers(votes, *pair, criterion)
    ]


def _share(votes: Sequence[Vote], pair: tuple[str, str], criterion: str) -> list[str]:
    found = outcomes(votes, *pair, criterion)
    counts = found.counts
    if counts[2] > counts[0]:
        pair, found, counts = (pair[1], pair[0]), found.mirrored(), counts[::-1]
    agreed = alpha(answers(votes, *pair, criterion).values())
    try:
        value = share(found)
        shown = [f"{value.value:.3f}", f"{value.low:.3f} to {value.high:.3f}"]
    except VoteError:  # too few prompts
        shown = [f"{found.points.mean():.3f}", MISSING]
    said = MISSING if agreed is None else f"{agreed:.2f}"
    return [f"{pair[0]} before {pair[1]}", criterion, *shown, _listed(counts), f"{sign_test(found).p:.3g}", said]


def _strengths(votes: Sequence[Vote]) -> list[str]:
    """Of three systems and more."""
    if len({system for vote in studied(votes) for system in (vote.left, vote.right)}) < 3:
        return []
    rows = []
    for criterion in dict.fromkeys(vote.criterion for vote in studied(votes)):
        try:
            fitted = davidson(votes, criterion)
        except VoteError as error:
            rows.append([criterion, MISSING, MISSING, str(error)])
            continue
        for one in fitted.strengths:
            rows.append([criterion, one.system, f"{one.value:.2f}", f"{one.low:.2f} to {one.high:.2f}"])
    return ["## Strengths (Davidson, with ties)", _table(("question", "system", "log strength", "95 %"), rows)]


def _people(people: Sequence[Assessor]) -> list[list[str]]:
    return [
        [
            person.name,
            f"{person.votes:,}",
            f"{person.right} of {person.checks}" + (", careless" if person.is_careless else ""),
            f"{person.left} of {person.sided}",
            f"{person.seconds[1]:.1f}",
        ]
        for person in people
    ]


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
