"""Votes as lines of a records file: one line for each study, criterion, pair of systems and prompt, and back."""

from collections.abc import Iterable
from itertools import pairwise

from repro.harness.schema import VoteLine
from repro.harness.votes.vote import Vote


def grouped(votes: Iterable[Vote]) -> list[VoteLine]:
    """The lines of votes, in whatever order they came; seconds are rounded to milliseconds.

    Raises:
        ValueError: a vote that occurs twice.
    """
    groups: dict[tuple[str, ...], list[Vote]] = {}
    for vote in votes:
        first, second = sorted((vote.left, vote.right))
        groups.setdefault((vote.study, vote.criterion, first, second, vote.prompt), []).append(vote)
    return [_line(groups[key]) for key in sorted(groups)]


def votes_of(lines: Iterable[VoteLine]) -> list[Vote]:
    """The votes that lines were made of, in the order of the lines.

    Raises:
        ValueError: a vote that is none.
    """
    return [_vote(line, place) for line in lines for place in range(len(line.image))]


def _vote(line: VoteLine, place: int) -> Vote:
    pair = (line.first, line.second)
    left, right = pair if line.left[place] == "first" else pair[::-1]
    return Vote(
        study=line.study,
        prompt=line.prompt,
        image=line.image[place],
        criterion=line.criterion,
        left=left,
        right=right,
        choice=line.choice[place],
        assessor=line.assessor[place],
        seconds=line.seconds[place],
        expected=line.expected[place],
    )


def _line(votes: list[Vote]) -> VoteLine:
    """Of votes about one pair and prompt under one criterion."""
    votes = sorted(votes, key=lambda vote: vote.identity)
    twice = [vote for before, vote in pairwise(votes) if before.identity == vote.identity]
    if twice:
        raise ValueError(f"a vote occurs twice: {' '.join(twice[0].identity[1:])}")
    first, second = sorted((votes[0].left, votes[0].right))
    return VoteLine(
        study=votes[0].study,
        criterion=votes[0].criterion,
        first=first,
        second=second,
        prompt=votes[0].prompt,
        image=tuple(vote.image for vote in votes),
        assessor=tuple(vote.assessor for vote in votes),
        left=tuple("first" if vote.left == first else "second" for vote in votes),
        choice=tuple(vote.choice for vote in votes),
        seconds=tuple(round(float(vote.seconds), 3) for vote in votes),
        expected=tuple(vote.expected for vote in votes),
    )
