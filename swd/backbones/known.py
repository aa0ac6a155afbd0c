"""What is known of a network beside its weights: it stays with the network, whatever pipelines that becomes part of.

A pipeline that is made of another's components gets networks, tokenizers and scheduler, and nothing else; the number of
tokens that the network was trained with, and the student whose adapter is on it, would be lost without a word.
"""

from dataclasses import dataclass, replace
from typing import Any

from swd.lora.card import StudentCard

_ATTRIBUTE = "_swd_known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Of a network.

    Attributes:
        token_length: ``max_sequence_length`` in the ``model_index.json`` that it was loaded with.
        student: what the student on it says of itself.
        adapter: the student's name there.
    """

    token_length: int | None = None
    student: StudentCard | None = None
    adapter: str | None = None


def known(network: Any) -> Known:
    """What was remembered; of most networks nothing."""
    found: Known = getattr(network, _ATTRIBUTE, Known())
    return found


def remember(network: Any, **changes: Any) -> None:
    """Change some fields of `Known`; nothing where a pipeline was loaded without its network (None)."""
    if network is not None:
        setattr(network, _ATTRIBUTE, replace(known(network), **changes))
