"""Where a pipeline computes: devices as callers write them, refused before work where there are none such."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from swd.backbones.shared_weights import all_modules
from swd.values import whole

_REFUSALS = (RuntimeError, ValueError, AssertionError, NotImplementedError)  # torch's ways to say no


def known_device(name: str, asked: Any) -> torch.device:
    """A device that is here and holds numbers; ``cuda`` becomes the one of its kind that is current.

    Args:
        name: of the argument.
        asked: name, number of an accelerator, or device.

    Raises:
        TypeError: something else.
        ValueError: there is none such here, or it holds no numbers (meta).
    """
    if isinstance(asked, bool) or not isinstance(asked, str | int | torch.device):
        raise TypeError(f"{name} must be a device, its name or its number, got {asked!r} ({type(asked).__name__})")
    try:
        device = torch.device(asked)
        there = device.type != "meta" and not (device.type == "cpu" and device.index)
        found = torch.empty(1, device=device).device if there else None
    except _REFUSALS:
        found = None
    if found is None:
        raise ValueError(f"{name}: there is no device {str(asked)!r} here that can compute; expected {_expected()}")
    return found


def _expected() -> str:
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        return "cpu (torch finds no accelerator)"
    return " or ".join(["cpu", *(f"{found.type}:{number}" for number in range(torch.accelerator.device_count()))])


def check_places(parts: Mapping[str, Any], device: torch.device) -> None:
    """Refuse parts of a pipeline whose weights are elsewhere than where they are to compute; offloading moves its own.

    Raises:
        ValueError: one is on another device, or has no weights (meta).
    """
    for name, part in parts.items():
        weight = next(part.parameters(), None) if isinstance(part, nn.Module) else None
        if weight is None or (_same(weight.device, device) and not weight.is_meta) or is_hooked(part):
            continue
        if weight.is_meta:
            raise ValueError(f"{name} is on the meta device, which holds no numbers: load its weights first")
        raise ValueError(
            f"{name} is on {weight.device} and has to compute on {device}: pipe.to({str(device)!r}) moves it"
        )


def _same(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are one; hooks of diffusers may say "cuda", without a number."""
    return one.type == other.type and (one.index == other.index or None in (one.index, other.index))


def is_hooked(part: nn.Module) -> bool:
    """Whether a network or a part of it has hooks of accelerate or diffusers, which may move its weights."""
    return any("_hf_hook" in vars(module) or "_diffusers_hook" in vars(module) for module in all_modules(part))


class Placing:
    """The part of a scale-wise pipeline that moves it; stands before a pipeline class of diffusers."""

    def to(self, *arguments: Any, **options: Any) -> Any:
        """As in diffusers: a device, a dtype, or both.

        Raises:
            TypeError: something else.
            ValueError: a device that is not here, or cannot compute; the pipeline is where it was.
        """
        given = [(f"argument {number + 1} of to()", value) for number, value in enumerate(arguments)]
        for name, value in [*given, *((name, options.get(name)) for name in ("device", "dtype"))]:
            if isinstance(value, torch.dtype):
                if not value.is_floating_point:
                    raise TypeError(f"{name} must be a dtype of floating-point numbers, got {value}")
            elif value is not None and name == "dtype":
                raise TypeError(f"dtype must be a torch.dtype, got {value!r}")
            elif value is not None:
                known_device(name, value)
        return super().to(*arguments, **options)  # type: ignore[misc]  # of the pipeline class

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """As in diffusers.

        Raises:
            TypeError: no device.
            ValueError: a device that is not here, or cannot compute.
        """
        _check_offloading(gpu_id, device)
        super().enable_model_cpu_offload(gpu_id, device)  # type: ignore[misc]  # of the pipeline class

    def enable_sequential_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """As in diffusers.

        Raises:
            TypeError: no device.
            ValueError: a device that is not here, or cannot compute.
        """
        _check_offloading(gpu_id, device)
        super().enable_sequential_cpu_offload(gpu_id, device)  # type: ignore[misc]  # of the pipeline class

    def enable_group_offload(
        self, onload_device: Any, offload_device: Any = "cpu", *arguments: Any, **options: Any
    ) -> None:
        """As in diffusers.

        Raises:
            TypeError: no device.
            ValueError: a device that is not here, or cannot compute.
        """
        onload, offload = known_device("onload_device", onload_device), known_device("offload_device", offload_device)
        super().enable_group_offload(onload, offload, *arguments, **options)  # type: ignore[misc]  # of the pipeline class


def _check_offloading(gpu_id: Any, device: Any) -> None:
    if device is not None:
        known_device("device", device)
    if gpu_id is not None:
        number = whole("gpu_id", gpu_id, 0, 2**15 - 1)
        found = torch.accelerator.current_accelerator(check_available=True)
        if found is not None:  # where there is none, diffusers says so
            known_device("gpu_id", f"{found.type}:{number}")
