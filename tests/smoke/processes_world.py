"""Runs of a few iterations for one process or several: ``torchrun --nproc_per_node 2 processes_world.py FOLDER``.

Each family in two ways. A batch taken whole is twice as long in one process as in each of two, and float32 sums of
another length round otherwise. Taken in pieces of what each of two has, every product is the same in both, and halves
of gradients add up exactly: not a bit may differ, whatever the learning rate.

AdamW divides a gradient by its size, so a weight whose gradient is all rounding moves by any part of a learning rate:
that of the runs on whole batches is small, yet large enough that weights move by many times what they may differ.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started by torchrun, not by pytest, which finds these by itself
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import tiny_pipelines
import torch
import training_world
from accelerate.state import PartialState

from swd.backbones import backbone_named
from swd.backbones.base import Denoiser
from swd.training import TrainResult, train

ITERATIONS, STOPPED, BATCH = 5, 2, 4
WAYS: dict[str, dict[str, Any]] = {"whole": {"lr": 2e-5}, "pieces": {"lr": 1e-2, "micro_batch_size": BATCH // 2}}


@dataclass(frozen=True)
class Family:
    """A tiny network, by its name in `tiny_pipelines`, and options of its run."""

    network: str
    backbone: str
    options: dict[str, Any] = field(default_factory=dict)

    def denoiser(self) -> Denoiser:
        backbone = backbone_named(self.backbone)
        return backbone.denoiser(backbone.network(tiny_pipelines.make(self.network)))

    def train(self, folder: Path, *, denoiser: Denoiser | None = None, **changes: Any) -> TrainResult:
        """Up to the end, or from where the folder's states leave off; data and seeds are the same in every call."""
        options = {"iterations": ITERATIONS, "batch_size": BATCH, "fake_updates": 2, **self.options, **changes}
        config, denoiser = training_world.config(**options), denoiser or self.denoiser()
        return train(config, denoiser, training_world.cache(6, config.schedule().scales, denoiser), folder)


FAMILIES = {
    "sd3": Family("sd35-medium", "sd3"),
    "flux": Family("flux", "flux", {"grid": "flux"}),
    "sdxl": Family(  # matched in patches alone, as it is published
        "sdxl",
        "sdxl",
        {
            "grid": "sdxl",
            "scales": (8, 12, 16, 20),
            "boundaries": (0, 10, 20, 30, 50),
            "feature_block": 3,
            "weight_dmd": 0.0,
            "weight_gan": 0.0,
        },
    ),
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for way, options in WAYS.items():
        for name, family in FAMILIES.items():
            family.train(folder / name / way, **options)
        FAMILIES["sd3"].train(folder / "stopped" / way, **options, iterations=STOPPED)
    state = PartialState()
    (folder / f"rank{state.process_index}").write_text(f"{state.num_processes} {state.backend}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
