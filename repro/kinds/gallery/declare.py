"""What a grid of samples is, as data: which systems, and by which rule its prompts are chosen."""

import random
from dataclasses import dataclass
from typing import Any

from repro.harness.experiment import Experiment, ExperimentError, Row
from repro.harness.profile import Profile

NOT_RECOVERED = (
    "Which prompts and images the paper's figure shows was not recovered; here a rule chooses them, stated above.",
)
APART = 10_000_000  # between the seeds of one prompt: no other prompt of a set has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which prompts of a set.

    Args:
        count: how many.
        seed: of a draw; None for the first ones.
        by_hand: places in the set, from 0, chosen by looking; empty unless somebody did, and the page says so.

    Raises:
        ValueError: no prompts, or a choice by hand of another number.
    """

    count: int
    seed: int | None = None
    by_hand: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a grid needs at least one prompt, got {self.count}")
        if self.by_hand and (self.seed is not None or len(self.by_hand) != self.count):
            raise ValueError(f"{self.by_hand} is no choice of {self.count} by hand without a draw")

    def places(self, total: int) -> list[int]:
        """Places of the prompts in a set of so many; a draw of fewer is the beginning of a draw of more.

        Raises:
            ExperimentError: the set has too few.
        """
        if self.count > total or any(not 0 <= place < total for place in self.by_hand):
            wanted = f"places {self.by_hand}" if self.by_hand else f"{self.count} prompts"
            raise ExperimentError(f"{wanted} of a set of {total}: it has places 0 to {total - 1}")
        if self.by_hand:
            return list(self.by_hand)
        if self.seed is None:
            return list(range(self.count))
        return random.Random(f"gallery/{self.seed}").sample(range(total), total)[: self.count]

    @property
    def rule(self) -> str:
        """In words, before "of the set"."""
        if self.by_hand:
            return f"**chosen by hand**: {self.count} prompts"
        which = "the first" if self.seed is None else f"drawn with seed {self.seed}:"
        return f"{which} {self.count} prompts" if self.count > 1 else f"{which} prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery(Experiment):
    """A grid of images: a row for each system, columns with the same prompt and seed in every row.

    Args:
        rows: systems.
        prompts: set of the paper whose place the prompts take.
        choice: which of them.
        seeds: images of each prompt, of different seeds.
    """

    rows: tuple[Row, ...]
    prompts: str
    choice: Choice
    seeds: int = 1

    def rows_in(self, profile: Profile) -> tuple[Row, ...]:
        """The systems that a profile has.

        Raises:
            ExperimentError: none.
        """
        found = tuple(row for row in self.rows if not row.profiles or profile.name in row.profiles)
        if not found:
            raise ExperimentError(f"profile {profile.name} has no system of {self.key}")
        return found

    def prompt_set(self, profile: Profile) -> str:
        """Key of the set of prompts in a profile.

        Raises:
            ExperimentError: the profile has no set that stands for the paper's.
        """
        found = [prompts.key for prompts in profile.prompt_sets if prompts.reported == self.prompts]
        if not found:
            raise ExperimentError(f"profile {profile.name} has no prompts of {self.prompts}, which {self.key} shows")
        return found[0]

    def columns(self, prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Id, caption and seed of every column, from all prompts of the set."""
        found = []
        for place in self.choice.places(len(prompts)):
            prompt = prompts[place]
            for number in range(self.seeds):
                identity = str(prompt.get("id", place))
                known = {"id": f"{identity}-{number}" if self.seeds > 1 else identity, "caption": prompt["caption"]}
                found.append({**known, "seed": prompt["seed"] + number * APART})
        return found
