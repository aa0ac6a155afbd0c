"""Blocks of a network compiled for training, while adapters switch and hooks read features."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

# One code serves all blocks; it is compiled anew for each kind of block, adapter and set of trainable weights.
RECOMPILATIONS = 64


@contextmanager
def compiled_blocks(blocks: Sequence[nn.Module], *, active: bool = True) -> Iterator[None]:
    """Compile the blocks of a network inside, for all scales at once; they are as before afterwards.

    ``forward`` is what is compiled, not the call around it: hooks stay outside, and so may end a pass early.
    """
    chosen = list(blocks) if active else []
    for block in chosen:
        block.forward = _often(torch.compile(block.forward, dynamic=True))
    try:
        yield
    finally:
        for block in chosen:
            del block.forward


def _often(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """May be compiled as often as it takes; the limit belongs to a thread, and autograd computes again in its own."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        with many_compilations():
            return compiled(*args, **kwargs)

    return forward


def many_compilations() -> AbstractContextManager[Any]:
    """Compiled code may be compiled again for another kind of block, batch or width; torch gives up after 8."""
    limits: dict[str, Any] = {"recompile_limit": RECOMPILATIONS, "accumulated_recompile_limit": 16 * RECOMPILATIONS}
    found: AbstractContextManager[Any] = torch._dynamo.config.patch(**limits)
    return found
