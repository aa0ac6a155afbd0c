"""Distils the five students of Table 2 from the mini pipeline and ships them: `nox -s mini`, after the build."""

import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from repro.harness.stages import StageStore
from repro.measure.students import distil
from repro.mini.build import ROOT
from repro.mini.world import MiniWorld
from repro.profiles.mini import PROFILE
from repro.table2 import TABLE
from swd.models.adapters import ADAPTER_FILE


def ship(source: Path, target: Path) -> None:
    """Copy an adapter in half precision, header and all."""
    with safe_open(source / ADAPTER_FILE, framework="pt") as file:
        tensors = {key: file.get_tensor(key).half() for key in file.keys()}  # noqa: SIM118
        header = file.metadata()
    target.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target / ADAPTER_FILE, metadata=header)


def main() -> int:
    """Train what is missing, then copy into the package."""
    store = StageStore(ROOT / "results" / "stages")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    world = MiniWorld(PROFILE, ROOT)
    for row in TABLE.rows:
        if not row.is_teacher:
            trained = distil(store, world, row, seed=PROFILE.seeds[0], rows=TABLE.rows, device=device)
            ship(trained, ROOT / PROFILE.settings["adapters"] / row.variant)
    return 0


if __name__ == "__main__":
    sys.exit(main())
