"""What a claim is about: which rows it compares, on what and how."""

from dataclasses import dataclass
from typing import Literal

NOT_IN_PAPER = "not in the paper"
"""Source of a claim of our own."""
ClaimKind = Literal["better", "not_worse"]
"""Superiority, or non-inferiority by a margin that was fixed before the records were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a claim compares.

    Args:
        rows: as the records name them, the side that the claim favours first.
        prompts: keys of the prompt sets that count; None for all of the profile, empty where there are none.
        conditions: what else was held fixed, in words.
        kind: better, or not worse.
        factor: that is claimed, where times are compared.
    """

    rows: tuple[str, ...]
    prompts: tuple[str, ...] | None = ()
    conditions: str = ""
    kind: ClaimKind = "better"
    factor: float | None = None
