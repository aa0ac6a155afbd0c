"""Scale-wise distillation: training step, trainer, exact resume (section 4 of the paper).

Names are imported on first use, so that ``--help`` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swd.errors import NonFiniteLossError as NonFiniteLossError
    from swd.training.config import DistillConfig as DistillConfig
    from swd.training.run import train as train
    from swd.training.trainer import TrainResult as TrainResult

_HOMES = {
    "DistillConfig": "swd.training.config",
    "NonFiniteLossError": "swd.errors",
    "TrainResult": "swd.training.trainer",
    "train": "swd.training.run",
}

__all__ = [
    "DistillConfig",
    "NonFiniteLossError",
    "TrainResult",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
