"""In which precision the mini networks are trained."""

import torch


def mixed_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where the device has arithmetic for it, else float32.

    A CPU without bfloat16 instructions emulates them: its matrix products take a hundred times as long.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16; of a CPU, oneDNN is asked."""
    return device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
