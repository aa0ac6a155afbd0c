"""Counts the work of a computation: FLOPs, bytes, and the most memory that intermediate tensors hold.

FLOPs are those of matrix products, convolutions and attention, a multiply-add counting 2, as torch's FlopCounterMode
counts them. Bytes are what these operators read and write: the traffic left where everything between them is fused.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

_attention = F.scaled_dot_product_attention
_aten = torch.ops.aten
# torch before 2.15 has no formula for the fused attention of CPUs; it is that of the other fused ones
_FUSED_FLOPS = {
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}


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
    counter = _Counter()
    # a TorchFunctionMode would not reach what checkpointing computes again on the way back
    with mock.patch.object(F, "scaled_dot_product_attention", _fused_attention), counter:
        run()
    return Cost(counter.flops, counter.bytes, 0, counter.peak)


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Attention without its matrix of weights, as every fused kernel does it; meta tensors would get the plain one."""
    given = {name for name, value in kwargs.items() if value is not None and value is not False}  # FLUX names them all
    if not query.is_meta or args or not given <= {"dropout_p", "is_causal"}:
        return _attention(query, key, value, *args, **kwargs)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    result: Tensor = fused(query, key, value, kwargs.get("dropout_p", 0.0), kwargs.get("is_causal", False))[0]
    return result


class _Counter(TorchDispatchMode):
    """FLOPs of operators that have them, bytes that those read and write, and the most that tensors held at once.

    FlopCounterMode would also ask which module an operator belongs to, which takes longer than all the rest.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.flops, self.bytes, self.peak, self._live = 0, 0, 0, 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = _tensors((args, kwargs))
        for tensor in inputs:
            self._known.setdefault(tensor.untyped_storage(), 0)
        result = _run(func, args, kwargs or {}, inputs)
        outputs = _tensors(result)
        formula = flop_registry.get(func._overloadpacket) or _FUSED_FLOPS.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
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


# operators that came before -> shapes, strides and dtypes of what they gave: torch works them out in Python, slowly
_KNOWN: dict[Any, Any] = {}
_MOST_KNOWN = 20_000


def _run(func: Any, args: Any, kwargs: Any, inputs: list[Tensor]) -> Any:
    """The operator, or on meta tensors an empty result like that of the last time it met the same shapes."""
    schema = func._schema
    makes = not schema.is_mutable and schema.returns and not any(value.alias_info for value in schema.returns)
    makes = makes and func is not torch.ops.aten._unsafe_view.default  # a view that does not say so
    if not makes or not inputs or not all(tensor.is_meta for tensor in inputs):
        return func(*args, **kwargs)
    key = func, _described(args), _described(tuple(sorted(kwargs.items())))
    if key not in _KNOWN:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        result = func(*args, **kwargs)
        _KNOWN[key] = tree_map_only(Tensor, _described, result)
        return result
    return tree_map_only(_Layout, _empty, _KNOWN[key], is_leaf=lambda node: isinstance(node, _Layout))


class _Layout(NamedTuple):
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


def _described(value: Any) -> Any:
    """A key: layouts for tensors; numbers with their types, since 1 and 1.0 promote differently."""
    if isinstance(value, Tensor):
        return _Layout(value.shape, value.stride(), value.dtype)
    if isinstance(value, list | tuple):
        return tuple(map(_described, value))
    return type(value), value


def _empty(layout: _Layout) -> Tensor:
    return torch.empty_strided(layout.shape, layout.stride, dtype=layout.dtype, device="meta")


def _tensors(tree: Any) -> list[Tensor]:
    """Leaves of what operators take and give: tensors, and lists, tuples and keywords of them."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [tensor for part in tree for tensor in _tensors(part)] if isinstance(tree, list | tuple) else []
