"""What the paper states, in our words: every claim that is tested belongs to one of these sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from repro.harness.published import published

FILE = "statements_v1.csv"


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of version 1 of the paper, in our words.

    Attributes:
        key: name in claims.
        where: place in the paper.
        text: what it says.
        not_asked: why no claim asks it; empty where some do.
    """

    key: str
    where: str
    text: str
    not_asked: str = ""


@lru_cache
def statements() -> Mapping[str, Statement]:
    """All of them by key, in the paper's order."""
    return {
        line["key"]: Statement(line["key"], line["where"], line["statement"], line["not_asked"])
        for line in published(FILE)
    }
