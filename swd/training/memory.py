"""What a run will hold, on the device and on disk, and which gradient checkpointing that leaves room for."""

from typing import Any

import torch

from swd.data.cache import LatentCache
from swd.lora.bank import AdapterBank
from swd.training.config import DistillConfig
from swd.training.cost import choose_checkpointing
from swd.training.options import Checkpointing
from swd.training.sharding import gathered_bytes

BYTES_PER_PARAMETER = 16  # float32 weight, two AdamW moments, and the EMA


def fitting_checkpointing(
    config: DistillConfig, bank: AdapterBank[Any], data: LatentCache, *, processes: int, device: torch.device
) -> Checkpointing:
    """The mode that is asked for, or the one that fits the GPU; elsewhere memory is not what training lacks.

    Args:
        config: of the run.
        bank: on the device already.
        data: what batches are made of.
        processes: how many share a batch.
        device: where training runs.
    """
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing
    if device.type != "cuda":
        return "off"
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + reserved
    share = config.batch_size // processes
    return choose_checkpointing(
        bank.denoiser,
        config,
        data.empty,
        batch=config.micro_batch_size or share,
        free_bytes=free - awaited_bytes(config, bank, data, share),
    )


def awaited_bytes(config: DistillConfig, bank: AdapterBank[Any], data: LatentCache, images: int) -> int:
    """What will be on the device from the first iteration on: optimisers, EMA, data now and ahead, gathered blocks."""
    states, schedule = (BYTES_PER_PARAMETER - 4) * _num_parameters(bank), config.schedule()
    updates = 1 + (config.fake_updates if config.uses_fake else 0)
    one = data.batch([0], schedule, schedule.num_steps - 1)
    return states + (1 + config.prefetch) * updates * images * one.nbytes + gathered_bytes(bank.denoiser)


def state_bytes(bank: AdapterBank[Any]) -> int:
    """Most that a saved state takes on disk."""
    return BYTES_PER_PARAMETER * _num_parameters(bank)


def _num_parameters(bank: AdapterBank[Any]) -> int:
    return sum(parameter.numel() for name in bank.names for parameter in bank.parameters(name))
