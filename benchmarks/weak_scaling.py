"""Weak scaling of a training: the same share of a batch for each of 1, 2 and 4 processes, which torchrun starts.

The mini world's network and settings, on random latents, which take no time to read. A layout is PROCESSESxTHREADS; a
batch has so many images for each thread, so that all layouts of as many threads do the same work:

    python -m benchmarks.weak_scaling WORK --layouts 1x1 2x1 4x1 1x2 --images 4 --iterations 12

prints seconds per iteration (the median; the first cycle of the schedule warms up), images per second, and those for
each thread against the first layout's: 1 is perfect scaling. On GPUs every process takes one, and threads count as 1:
`--layouts 1x1 8x1`. With `--fsdp` the processes share the frozen network's blocks.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swd.interrupts import ended_by_ctrl_c

ROOT = Path(__file__).resolve().parents[1]
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}
STUDENT = "scalewise_6"  # row of Table 2


@dataclass(frozen=True, slots=True)
class Layout:
    """Processes of a training, and threads of each."""

    processes: int
    threads: int

    @classmethod
    def parse(cls, text: str) -> "Layout":
        if (found := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)) is None:
            raise argparse.ArgumentTypeError(f"{text!r} is no layout, write 2x1 for two processes of one thread")
        return cls(int(found[1]), int(found[2]))

    @property
    def cores(self) -> int:
        return self.processes * self.threads

    def __str__(self) -> str:
        return f"{self.processes}x{self.threads}"


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of the iterations of a layout that count, and the images of each."""

    layout: Layout
    batch: int
    seconds: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.batch / statistics.median(self.seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    typed = _parser().parse_args(arguments)
    if typed.worker is not None:
        train(typed.work, Layout.parse(typed.worker), typed.images, typed.iterations)
        return
    found = []
    for layout in typed.layouts:
        folder = typed.work / str(layout)
        shutil.rmtree(folder, ignore_errors=True)
        launch(typed, layout, folder)
        found.append(measured(folder, layout, typed.images * layout.cores))
    print(table(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Weak scaling of a training over processes.")
    parser.add_argument("work", type=Path, help="folder of the runs; what earlier ones left there is removed")
    parser.add_argument("--layouts", nargs="+", type=Layout.parse, default=[Layout(n, 1) for n in (1, 2, 4)])
    parser.add_argument("--images", type=int, default=4, help="of a batch, for each thread (default: 4)")
    parser.add_argument("--iterations", type=int, default=12, help="two cycles of six steps (default: 12)")
    parser.add_argument("--fsdp", action="store_true", help="share the frozen network's blocks")
    parser.add_argument("--worker", help=argparse.SUPPRESS)  # the layout of the process that trains
    return parser


def launch(typed: argparse.Namespace, layout: Layout, folder: Path) -> None:
    """Train as one layout does, in processes of its own."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    worker = [__file__, str(folder), "--worker", str(layout), "--images", str(typed.images)]
    environment = {"OMP_NUM_THREADS": str(layout.threads), **(FSDP if typed.fsdp else {})}
    if not accelerated():
        environment["ACCELERATE_USE_CPU"] = "true"
    subprocess.run(
        [*torchrun, str(layout.processes), *worker, "--iterations", str(typed.iterations)],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        check=True,
    )


def accelerated() -> bool:
    import torch  # not for --help

    return torch.cuda.is_available()


def train(folder: Path, layout: Layout, images: int, iterations: int) -> None:
    """What each process does."""
    sys.path.insert(0, str(ROOT / "tests"))  # before this folder, which has a `training_world` of its own
    import torch
    import training_world

    from repro.harness.plan import resolve
    from repro.profiles.mini import PROFILE
    from repro.stages.images import load_pipeline
    from repro.table2 import TABLE
    from swd.backbones import denoiser_of
    from swd.training import train as distil

    torch.set_num_threads(layout.threads)
    row = next(row for row in TABLE.rows if row.key == STUDENT)
    options: dict[str, Any] = {"batch_size": images * layout.cores, "iterations": iterations}
    config = replace(resolve(PROFILE, row).training, **options, checkpoint_every=iterations, progress=False)
    denoiser = denoiser_of(load_pipeline(ROOT / PROFILE.weights.pipeline, "float32", torch.device("cpu")))
    data = training_world.cache(16, tuple(dict.fromkeys(config.schedule().scales)), denoiser)
    distil(config, denoiser, data, folder)


def measured(folder: Path, layout: Layout, batch: int) -> Measured:
    """What a run's log says, without its first cycle."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    warm = 1 + max(line["step"] for line in lines)
    return Measured(layout, batch, tuple(line["seconds"] for line in lines[warm:] or lines))


def table(found: Sequence[Measured]) -> str:
    """A line for each layout."""
    first = found[0].rate / found[0].layout.cores
    lines = [f"{'layout':>8} {'batch':>6} {'s/iteration':>12} {'images/s':>9} {'scaling':>8}"]
    for one in found:
        seconds, scaling = statistics.median(one.seconds), one.rate / one.layout.cores / first
        lines.append(f"{one.layout!s:>8} {one.batch:>6} {seconds:>12.3f} {one.rate:>9.2f} {scaling:>8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    with ended_by_ctrl_c():
        main()
