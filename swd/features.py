"""Token features of chosen blocks through forward hooks, without copying any model's forward.

A pass that is run for its features alone stops as soon as the block after the last chosen one is about to run.
Stopping there rather than inside the chosen block leaves that block complete, so gradient checkpointing of it still
works.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class _EarlyExit(Exception):
    """Ends a forward pass whose remaining blocks are not needed."""


class FeatureTap:
    """Records the output of chosen blocks during a forward pass, and ends the pass early or lets it run on.

    Args:
        blocks: all blocks of the network in the order in which they run.
        chosen: indices of the blocks to record; negative ones count from the end.
        select: picks the features (B, N, D) from a block's output.

    Raises:
        ValueError: when ``chosen`` is empty or out of range.
    """

    def __init__(self, blocks: Sequence[nn.Module], chosen: Sequence[int], select: Callable[..., Tensor]) -> None:
        count = len(blocks)
        if not chosen or any(not -count <= index < count for index in chosen):
            raise ValueError(f"blocks to tap must be a non-empty choice from 0..{count - 1}, got {list(chosen)}")
        self._blocks = blocks
        self._chosen = [index % count for index in chosen]
        self._select = select

    def __call__(self, run: Callable[[], object]) -> list[Tensor]:
        """Call ``run`` (one forward pass), end it early and return the features in the order of ``chosen``."""
        found: dict[int, Tensor] = {}
        last = max(self._chosen)
        with self._recording(found) as hooks, suppress(_EarlyExit):
            if last + 1 < len(self._blocks):
                # before any hook that makes the block ready, such as gathering its weights
                hooks.enter_context(self._blocks[last + 1].register_forward_pre_hook(_stop, prepend=True))
            run()
        return [found[index] for index in self._chosen]

    def alongside(self, run: Callable[[], T], *, detach: bool = False) -> tuple[T, list[Tensor]]:
        """Call ``run`` to its end; returns its result and the features.

        Args:
            run: one forward pass.
            detach: no graph behind the last chosen block, on whatever way its input came there: a UNet's later blocks
                also take what earlier ones gave.
        """
        found: dict[int, Tensor] = {}
        with torch.set_grad_enabled(torch.is_grad_enabled()), self._recording(found, max(self._chosen), detach=detach):
            result = run()
        return result, [found[index] for index in self._chosen]

    def _recording(self, found: dict[int, Tensor], last: int = -1, *, detach: bool = False) -> ExitStack:
        """Hooks on the chosen blocks, gone when the stack closes; after ``last`` there is no graph with ``detach``."""
        hooks = ExitStack()
        for index in set(self._chosen):
            recorder = self._recorder(found, index, detach and index == last)
            hooks.enter_context(self._blocks[index].register_forward_hook(recorder))
        return hooks

    def _recorder(self, found: dict[int, Tensor], index: int, cut: bool) -> Callable[..., None]:
        def record(module: nn.Module, args: object, output: object) -> None:
            found[index] = self._select(output)
            if cut:
                torch.set_grad_enabled(False)  # `alongside` turns it on again

        return record


def _stop(module: nn.Module, args: object) -> None:
    raise _EarlyExit
