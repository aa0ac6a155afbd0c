"""What a student says of itself: the part of an adapter's header that sampling needs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, Self, get_args

from swd.grid import Process
from swd.schedule import ScaleSchedule, UpscaleMode

_NUMBERS = ("guidance_scale",)
_WORDS = ("base_model", "backbone", "process", "upscale")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentCard:
    """How a student wants to be sampled; None where the adapter does not say.

    Attributes:
        base_model: name on the Hub, or of the folder, of the pipeline that it was distilled from.
        backbone: family of its network, which also says what its noise levels mean.
        scales: latent side of each step.
        sigmas: noise levels, one more than scales, the last is 0.
        process: noise process whose levels they are.
        upscale: how x0 gets from a scale to the next; bicubic where it does not say.
        token_length: tokens of the text encoder whose length can be chosen (T5).
        guidance_scale: what it is sampled with: 1 is none. A network that takes it as an input (FLUX) gets this one.
            Where the adapter does not say, students of the network's family have one of their own.

    Raises:
        ValueError: scales and sigmas are not a schedule, or a number is out of range.
    """

    base_model: str | None = None
    backbone: str | None = None
    scales: tuple[int, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    process: Process | None = None
    upscale: UpscaleMode | None = None
    token_length: int | None = None
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        if (self.scales is None) != (self.sigmas is None):
            raise ValueError(f"scales and sigmas go together, got {self.scales} and {self.sigmas}")
        if self.process is not None and self.process not in get_args(Process):
            raise ValueError(f"process must be one of {', '.join(get_args(Process))}, got {self.process!r}")
        if self.upscale is not None and self.upscale not in get_args(UpscaleMode):
            raise ValueError(f"upscale must be one of {', '.join(get_args(UpscaleMode))}, got {self.upscale!r}")
        if self.token_length is not None and self.token_length < 0:
            raise ValueError(f"token_length must not be negative, got {self.token_length}")
        if self.guidance_scale is not None and not 0 <= self.guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be finite and not negative, got {self.guidance_scale}")
        if (schedule := self.schedule()) is not None:
            object.__setattr__(self, "scales", schedule.scales)
            object.__setattr__(self, "sigmas", schedule.sigmas)

    def schedule(self) -> ScaleSchedule | None:
        """Its steps, where it says so."""
        if self.scales is None or self.sigmas is None:
            return None
        return ScaleSchedule(self.scales, self.sigmas, self.process, self.upscale or "bicubic")

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self | None:
        """The card in an adapter's header, which may hold much else; None where it says nothing of a student.

        Raises:
            ValueError: what it says makes no sense.
        """
        known = {name: header[name] for name in cls.__slots__ if header.get(name) is not None}
        if not known:
            return None
        try:
            _check_types(known)
            return cls(**known)
        except (TypeError, ValueError) as error:
            raise ValueError(f"what the adapter says of its student makes no sense: {error}") from error

    def as_json(self) -> dict[str, Any]:
        """What it says, as plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in plain.items() if value is not None}


def _check_types(known: dict[str, Any]) -> None:
    """JSON knows neither tuples nor the difference of 1 and 1.0."""
    for name in _WORDS:
        if not isinstance(known.get(name, ""), str):
            raise TypeError(f"{name} must be a string, got {known[name]!r}")
    for name in ("scales", "sigmas"):
        if not isinstance(known.get(name, []), Sequence):
            raise TypeError(f"{name} must be a list, got {known[name]!r}")
    numbers = [*known.get("sigmas", ()), *(known[name] for name in _NUMBERS if name in known)]
    whole = [*known.get("scales", ()), *(known[name] for name in ("token_length",) if name in known)]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        raise TypeError(f"numbers were expected, got {numbers}")
    if any(type(value) is not int for value in whole):
        raise TypeError(f"whole numbers were expected, got {whole}")


def model_name(location: str) -> str | None:
    """Name of a model from where it was loaded: that on the Hub, or the last folder of a path; None for nothing.

    A card must not hold where on a machine a model lay, nor differ between machines.
    """
    parts = PurePath(location.replace("\\", "/")).parts
    for part in parts:
        kind, _, rest = part.partition("--")
        if kind == "models" and rest:
            return rest.replace("--", "/")  # the Hub's cache folder
    if len(parts) == 2 and not location.startswith((".", "/", "~")):
        return location
    return parts[-1] if parts else None
