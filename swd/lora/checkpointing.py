"""Gradient checkpointing of blocks whose adapter may have been switched by the time that they are computed again."""

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

if TYPE_CHECKING:
    from swd.lora.bank import AdapterBank

CheckpointMode = Literal["selective", "half", "full"]
_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)
_ALWAYS_COSTLY = (
    torch.ops.aten.convolution.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
)


def checkpoint_blocks(bank: "AdapterBank[Any]", mode: CheckpointMode) -> None:
    """Checkpoint the blocks under a bank, each computed again under the adapter that it first ran under.

    Args:
        bank: adapters and network.
        mode: "full", every block (of a UNet, every residual and transformer block). "half", every second block; the
            last one is kept, since it would be computed again at once. "selective", every block, but the results of
            attention, convolutions and the base's matrix products are kept: what is computed again is cheap, namely
            norms, activations, and the second product of an adapter, as large as the base's and as little work as its
            rank.
    """
    selective = partial(create_selective_checkpoint_contexts, partial(_policy, bank.rank))
    context = selective if mode == "selective" else noop_context_fn
    kept = set(bank.denoiser.units[::-2]) if mode == "half" else set()

    def checkpointed(block: nn.Module, *args: Any) -> Any:
        if block in kept:
            return block(*args)
        name = bank.active

        def run(*inputs: Any) -> Any:
            with bank.use(name):
                return block(*inputs)

        return checkpoint(run, *args, use_reentrant=False, context_fn=context)

    bank.denoiser.network.enable_gradient_checkpointing(checkpointed)


def _policy(
    rank: int, context: SelectiveCheckpointContext, operator: Any, *args: Any, **kwargs: Any
) -> CheckpointPolicy:
    costly = operator in _ALWAYS_COSTLY or (operator in _PRODUCTS and args[-1].shape[-2] > 2 * rank)
    return CheckpointPolicy.MUST_SAVE if costly else CheckpointPolicy.PREFER_RECOMPUTE
