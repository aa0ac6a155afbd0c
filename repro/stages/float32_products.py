"""Half precision on CPUs without arithmetic for it, whose emulation is up to a hundred times slower than float32.

Products run in float32 and results are rounded, as hardware with float32 accumulators gives them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_aten = torch.ops.aten
_PRODUCTS = frozenset(
    {
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten.baddbmm.default,
        _aten.convolution.default,
        _aten.convolution_backward.default,
    }
)
_HALVES = (torch.bfloat16, torch.float16)


def float32_products() -> AbstractContextManager[Any]:
    """Inside, matrix products and convolutions of half-precision CPU tensors run in float32, forward and backward.

    Operands are cast for the moment of the product: memory stays that of half precision but for the largest operand.
    """
    mode: AbstractContextManager[Any] = _Float32Products()  # type: ignore[no-untyped-call]
    return mode


class _Float32Products(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        half = next((a.dtype for a in args if isinstance(a, torch.Tensor) and _is_half(a)), None)
        if func not in _PRODUCTS or half is None:
            return func(*args, **kwargs)
        wide = tree_map_only(torch.Tensor, lambda tensor: tensor.float() if _is_half(tensor) else tensor, args)
        return tree_map_only(torch.Tensor, lambda tensor: tensor.to(half), func(*wide, **kwargs))


def _is_half(tensor: torch.Tensor) -> bool:
    return tensor.dtype in _HALVES and tensor.device.type == "cpu"
