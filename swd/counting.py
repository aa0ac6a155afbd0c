"""Counts the work of a computation: FLOPs, bytes, and the most memory that intermediate tensors hold.

FLOPs are those of matrix products, convolutions and attention, a multiply-add counting 2, as torch's FlopCounterMode
counts them. Bytes are what these operators read and write: the traffic left where everything between them is fused.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from torch.utils.weak import WeakIdKeyDictionary

_attention = F.scaled_dot_product_attention


@dataclass(frozen=True, slots=True)
class Cost:
    """Work of a computation. Costs add up; the memory of things done in turn is that of the largest.

    Attributes:
        flops: a multiply-add counts 2.
        bytes: read and written by matrix products, convolutions and attention.
        tokens: image tokens that went through a transformer.
        peak_bytes: most memory that intermediate tensors held at once when run eagerly, weights and inputs left out.
    """

    flops: int = 0
    bytes: int = 0
    tokens: int = 0
    peak_bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.tokens + other.tokens,
            max(self.peak_bytes, other.peak_bytes),
        )

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.flops * times, self.bytes * times, self.tokens * times, self.peak_bytes)


def count(run: Callable[[], object]) -> Cost:
    """Cost of whatever ``run`` does, on any device; on meta tensors it costs nothing to know."""
    traffic, flops = _Traffic(), FlopCounterMode(display=False)
    # a TorchFunctionMode would not reach what checkpointing computes again on the way back
    with mock.patch.object(F, "scaled_dot_product_attention", _fused_attention), traffic, flops:
        run()
    return Cost(flops.get_total_flops(), traffic.bytes, 0, traffic.peak)


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Attention without its matrix of weights, as every fused kernel does it; meta tensors would get the plain one."""
    plain = not args and set(kwargs) <= {"attn_mask", "dropout_p", "is_causal"} and kwargs.get("attn_mask") is None
    if not (query.is_meta and plain):
        return _attention(query, key, value, *args, **kwargs)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return fused(query, key, value, kwargs.get("dropout_p", 0.0), kwargs.get("is_causal", False))[0]


class _Traffic(TorchDispatchMode):
    """Bytes that counted operators read and write, and the most that intermediate tensors held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.peak, self._live = 0, 0, 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = _tensors((args, kwargs))
        for tensor in inputs:
            self._known.setdefault(tensor.untyped_storage(), 0)
        result = func(*args, **(kwargs or {}))
        outputs = _tensors(result)
        if func._overloadpacket in flop_registry:
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in (*inputs, *outputs))
        for tensor in outputs:
            self._hold(tensor.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self._live -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
