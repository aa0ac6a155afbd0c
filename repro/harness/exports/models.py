"""Which model a row of a table is, under the name that others know it by."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from repro.harness.experiment import Row
from repro.harness.profile import Profile
from repro.harness.schema import Run

OURS = "swd-suite"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

Origin = Literal["published", "ours", "unknown"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model with the name of its repository on the Hub.

    Args:
        id: "developer/name"; "swd-suite/..." for what was trained here, "unknown/..." for a folder of images.
        origin: who made it.
    """

    id: str
    origin: Origin

    @property
    def developer(self) -> str:
        """Who made it."""
        return self.id.partition("/")[0]


def model_of(row: Row, profile: Profile, run: Run) -> Model:
    """The model of a row as it was measured in a run.

    A student is the released one of the profile, unless the run trained its own or was given adapters.
    """
    source = _source(row, profile, run)
    if source is not None and _HUB_NAME.fullmatch(source):
        return Model(source, "published")
    if row.images:
        return Model(f"unknown/{row.key}", "unknown")
    return Model(f"{OURS}/{profile.name}-{row.key}", "ours")


def _source(row: Row, profile: Profile, run: Run) -> str | None:
    if row.system is not None:
        system = row.system
        return (system.student or system.lora or system.network or system.base).repo
    if row.is_teacher:
        return _recorded_pipeline(run.config) or profile.weights.pipeline
    own_students = run.config.get("retrain") or _asked(run.command, "--retrain") or _asked(run.command, "--adapters")
    released = None if own_students else profile.weights.released.get(row.variant)
    return released.repo if released else None


def _recorded_pipeline(config: Mapping[str, Any]) -> str | None:
    """The pipeline of the profile as a run recorded it: the command line may have put another in its place."""
    profile = config.get("profile")
    weights = profile.get("weights") if isinstance(profile, Mapping) else None
    found = weights.get("pipeline") if isinstance(weights, Mapping) else None
    return found if isinstance(found, str) else None


def _asked(command: str, option: str) -> bool:
    """Whether a command line has an option; argparse takes its beginning for the whole."""
    words = [word.partition("=")[0] for word in shlex.split(command)]
    return any(len(word) > len("--") and option.startswith(word) for word in words if word.startswith("--"))
