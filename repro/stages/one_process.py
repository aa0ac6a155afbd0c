"""The suite's own trainings: each of one process, also where a launcher started several.

Processes of the suite share work through files (`repro.stages.work`): one trains a student while the others wait for it
or train another. An accelerator that joined the launcher's group would wait for processes that never come.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

from swd.training.launch import RANKS, SIZES

# by which accelerate knows that there are others
LOCAL = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "LOCAL_WORLD_SIZE")
GROUP = (*SIZES, *RANKS, *LOCAL)


def lone_accelerator(device: torch.device, mixed_precision: str | None = None, **options: Any) -> Accelerator:
    """An accelerator of this process alone, on its device."""
    with _alone():
        return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed_precision, **options)


@contextmanager
def _alone() -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in GROUP if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
