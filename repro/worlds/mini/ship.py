"""Distils the students of Table 2 from the stored mini pipeline and puts them into the package."""

from pathlib import Path

import torch
from safetensors import safe_open

from repro.profiles.mini import ADAPTERS, PROFILE
from repro.stages.store import StageStore
from repro.stages.students import distil
from repro.table2 import TABLE
from repro.worlds.mini.world import MiniWorld
from swd.files import save_tensors
from swd.lora.files import ADAPTER_FILE


def ship_students(store: StageStore, root: Path, device: torch.device) -> dict[str, Path]:
    """Train every student that is missing and copy it to where the mini profile looks for adapters.

    Returns:
        The training log of each student, by variant.
    """
    world, logs = MiniWorld(PROFILE, root), {}
    for row in TABLE.rows:
        if not row.is_teacher:
            trained = distil(store, world, row, seed=PROFILE.seeds[0], rows=TABLE.rows, device=device)
            copy_half(trained, root / ADAPTERS.folder / row.variant)
            logs[row.variant] = trained.parent / "log.jsonl"
    return logs


def copy_half(source: Path, target: Path) -> None:
    """Copy an adapter in half precision, header and all."""
    with safe_open(source / ADAPTER_FILE, framework="pt") as file:
        tensors = {key: file.get_tensor(key).half() for key in file.keys()}  # noqa: SIM118
        header = file.metadata()
    target.mkdir(parents=True, exist_ok=True)
    save_tensors(target / ADAPTER_FILE, tensors, header)
