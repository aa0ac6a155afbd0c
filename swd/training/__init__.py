"""Scale-wise distillation: latent cache, training step, trainer, exact resume (SwD, section "Training step").

Names are imported on first use, so that ``python -m swd.train --help`` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swd.training.cache_build import build_cache as build_cache
    from swd.training.cache_build import cache_ladder as cache_ladder
    from swd.training.config import DistillConfig as DistillConfig
    from swd.training.data import LatentCache as LatentCache
    from swd.training.errors import NonFiniteLossError as NonFiniteLossError
    from swd.training.fingerprint import pipeline_fingerprint as pipeline_fingerprint
    from swd.training.trainer import TrainResult as TrainResult
    from swd.training.trainer import train as train

_HOME = {
    "DistillConfig": "config",
    "LatentCache": "data",
    "NonFiniteLossError": "errors",
    "TrainResult": "trainer",
    "build_cache": "cache_build",
    "cache_ladder": "cache_build",
    "pipeline_fingerprint": "fingerprint",
    "train": "trainer",
}

__all__ = [
    "DistillConfig",
    "LatentCache",
    "NonFiniteLossError",
    "TrainResult",
    "build_cache",
    "cache_ladder",
    "pipeline_fingerprint",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
