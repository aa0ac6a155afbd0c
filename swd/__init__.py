"""Scale-wise distillation of diffusion models: few-step students that raise the resolution while they sample.

The names below load on first use, so that importing the package costs nothing and needs no diffusers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swd.grid import sigma_grid
    from swd.sampler import sample, sample_teacher
    from swd.schedule import PRESETS, ScaleSchedule, preset

__version__ = "0.1.0"

_HOMES = {
    "PRESETS": "swd.schedule",
    "ScaleSchedule": "swd.schedule",
    "preset": "swd.schedule",
    "sample": "swd.sampler",
    "sample_teacher": "swd.sampler",
    "sigma_grid": "swd.grid",
}

__all__ = ["PRESETS", "ScaleSchedule", "preset", "sample", "sample_teacher", "sigma_grid"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "losses":
        return import_module("swd.losses")
    raise AttributeError(f"module 'swd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
