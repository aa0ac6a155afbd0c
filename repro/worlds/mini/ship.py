"""Distils the students of Tables 2 and 4 from the stored mini pipeline and puts them into the package."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from repro import table2, table2_extended, table4
from repro.profiles.mini import ADAPTERS, PROFILE
from repro.stages.store import StageStore
from repro.stages.students import distil
from repro.worlds.mini.world import MiniWorld
from swd.files import save_tensors
from swd.lora.files import ADAPTER_FILE

_TABLES = (table2.TABLE, table4.TABLE, table2_extended.EXTENDED)
_ROWS = tuple(row for table in _TABLES for row in table.rows_in(PROFILE.name))
STUDENTS = {row.variant: row for row in _ROWS if row.is_student}  # tables that share a variant share its training


def ship_students(
    store: StageStore, root: Path, device: torch.device, variants: Sequence[str] = tuple(STUDENTS)
) -> dict[str, Path]:
    """Train every student that is missing and copy it to where the mini profile looks for adapters.

    Args:
        store: where finished trainings are; one that was interrupted goes on.
        root: the checkout.
        device: where to train.
        variants: of ``STUDENTS``.

    Returns:
        The training log of each student, by variant.
    """
    world, logs = MiniWorld(PROFILE, root), {}
    for variant in variants:
        rows = tuple(STUDENTS.values())
        trained = distil(store, world, STUDENTS[variant], seed=PROFILE.seeds[0], rows=rows, device=device)
        copy_half(trained, root / ADAPTERS.folder / variant)
        logs[variant] = trained.parent / "log.jsonl"
    return logs


def copy_half(source: Path, target: Path) -> None:
    """Copy an adapter in half precision, header and all."""
    with safe_open(source / ADAPTER_FILE, framework="pt") as file:
        tensors = {key: file.get_tensor(key).half() for key in file.keys()}  # noqa: SIM118
        header = file.metadata()
    target.mkdir(parents=True, exist_ok=True)
    save_tensors(target / ADAPTER_FILE, tensors, header)
