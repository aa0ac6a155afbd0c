"""What a figure of preferences is, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from repro.harness.experiment import Experiment
from repro.harness.profile import Profile


@dataclass(frozen=True, slots=True)
class Pair:
    """Two systems that are compared.

    Args:
        candidate: key of the system whose share of wins is shown.
        baseline: key of the other.
        profiles: those that have both; empty for all.
        reported: cells that pick the line of published shares; None where there is none.
    """

    candidate: str
    baseline: str
    profiles: tuple[str, ...] = ()
    reported: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """Variant in the records."""
        return f"{self.candidate} against {self.baseline}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceFigure(Experiment):
    """Shares of wins of pairs of systems.

    Args:
        systems: key -> label; keys are those of the rows of ``source``, and those that votes name.
        pairs: in the order of the page.
        source: table whose records have values per image of these systems, for the proxy.
        reported: CSV of published shares, a column for each criterion; empty where none were recovered.
        reported_label: whose they are.
        not_recovered: what is not known of the paper's figure; empty where nothing is missing.
    """

    PAGE_ONLY: ClassVar[frozenset[str]] = Experiment.PAGE_ONLY | {"reported", "reported_label", "not_recovered"}

    systems: Mapping[str, str]
    pairs: tuple[Pair, ...]
    source: str
    reported: str = ""
    reported_label: str = ""
    not_recovered: str = ""
    criteria: Mapping[str, str] = field(
        default_factory=lambda: {
            "relevance": "Relevance to the prompt",
            "aesthetics": "Aesthetics",
            "complexity": "Complexity",
            "defects": "Fewer defects",
        }
    )

    def __post_init__(self) -> None:
        for system in (name for pair in self.pairs for name in (pair.candidate, pair.baseline)):
            if system not in self.systems:
                raise ValueError(f"{self.key} compares {system!r}, which is not among {', '.join(self.systems)}")

    def pairs_of(self, profile: Profile) -> tuple[Pair, ...]:
        """The pairs that a profile has."""
        return tuple(pair for pair in self.pairs if not pair.profiles or profile.name in pair.profiles)

    def label(self, pair: Pair) -> str:
        """Of a pair, for tables."""
        return f"{self.systems[pair.candidate]} against {self.systems[pair.baseline]}"
