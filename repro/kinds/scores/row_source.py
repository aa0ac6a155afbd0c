"""What a row of a table of scores asks of whatever its images come from."""

from collections.abc import Sequence
from typing import Any, Protocol

from repro.metrics import Prompt
from repro.stages.images import ImageSet


class RowSource(Protocol):
    """The images of one row and training seed."""

    def inputs(self) -> dict[str, Any]:
        """All that they follow from, but for prompts and execution."""
        ...

    def images(self, prompt_set: str, prompts: Sequence[Prompt], place: str = "") -> ImageSet:
        """Finished images; those that are missing are made, with their place among all sets before the bar."""
        ...

    def missing_bytes(self, prompts: Sequence[Prompt]) -> float:
        """What images of these prompts still need on the disk, by an estimate."""
        ...

    def has(self, prompt_set: str) -> bool:
        """Whether it has images of that set."""
        ...

    def close(self) -> None:
        """Let go of networks."""
        ...
