"""What a run says of itself: at the start how it will run, at the end what it took."""

import resource
import sys
from typing import Any

import torch

from swd.training.config import DistillConfig
from swd.training.options import Checkpointing


def start_line(config: DistillConfig, accelerator: Any, checkpointing: Checkpointing, *, sharded: bool = False) -> str:
    """Processes, device, precision and how a batch is worked through, in one line."""
    processes = accelerator.num_processes
    share = config.batch_size // processes
    size = min(config.micro_batch_size or share, share)
    parts = [
        f"{processes} process{'es' if processes > 1 else ''} on {accelerator.device.type}",
        f"precision {config.precision}",
        f"batch of {config.batch_size}, {share} in each process, {size} in a pass",
        f"gradient checkpointing {checkpointing}",
        *(["blocks of the frozen network shared by the processes of a machine"] if sharded else []),
    ]
    return f"training: {'; '.join(parts)}"


def peak_memory(accelerator: Any) -> tuple[int, ...]:
    """Most bytes that each process held so far: of its GPU where there is one, else of the machine."""
    device = accelerator.device
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved(device)
    else:  # ru_maxrss is in bytes on macOS, in KiB elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return tuple(accelerator.gather(torch.tensor([peak], device=device)).tolist())
