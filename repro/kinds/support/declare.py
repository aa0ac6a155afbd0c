"""What the page of supported models is, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repro.harness.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Model:
    """One model whose memory is counted.

    Args:
        profile: whose architecture it is.
        title: as the page names it.
        schedule: of the student, without the profile's prefix.
        train: options of its distillation that differ from the profile's.
    """

    profile: str
    title: str
    schedule: str
    train: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportPage(Experiment):
    """Memory of sampling and training of every supported model, counted on its architecture.

    Args:
        models: in page order.
        gpus: memory of common GPUs in GiB, rising: the page names the smallest that a use fits into.
        spare: share of a GPU that must stay free: fragments, and buffers of libraries.
    """

    models: tuple[Model, ...]
    gpus: tuple[int, ...]
    spare: float
