"""Cached latents and prompt embeddings: what training reads, and how it is made (section 4 of the paper).

Names are imported on first use, so that ``--help`` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swd.data.build import build_cache as build_cache
    from swd.data.build import cache_ladder as cache_ladder
    from swd.data.build import plan_cache as plan_cache
    from swd.data.cache import LatentCache as LatentCache

_HOMES = {
    "LatentCache": "swd.data.cache",
    "build_cache": "swd.data.build",
    "cache_ladder": "swd.data.build",
    "plan_cache": "swd.data.build",
}

__all__ = [
    "LatentCache",
    "build_cache",
    "cache_ladder",
    "plan_cache",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
