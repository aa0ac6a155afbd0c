"""One part of the page of a GPU: `python -m repro gpu` starts it, with the time that it has."""

import argparse
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.gpu_parts.task import Item, Task
    from repro.kinds.gpu.journal import Journal

NEEDED = (  # what the parts import, by the names of the packages
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "open_clip_torch",
    "timm",
    "torchmetrics",
    "numpy",
    "scipy",
    "pillow",
    "tqdm",
    "tyro",
)
BROKEN = 75  # exit status: the device refuses further work in this process


def main(words: Sequence[str] | None = None) -> int:
    """Run a part, or `probe` for the device; the exit status is 0 unless the process cannot go on."""
    parser = argparse.ArgumentParser(prog="python -m repro.gpu_parts", description=__doc__)
    parser.add_argument("part", help="a part, or probe: print the device as JSON")
    parser.add_argument("--state", type=Path, required=True, help="folder of the journal")
    parser.add_argument("--seconds", type=float, default=0.0, help="after which no further item starts")
    parser.add_argument("--code", default="", help="digest of the code")
    parser.add_argument("--smoke", action="store_true", help="tiny, on the CPU")
    typed = parser.parse_args(words)
    if (missing := _missing()) is not None:
        print(missing, file=sys.stderr)
        return 1
    if typed.part == "probe":
        return _probe(typed.smoke)
    with TemporaryDirectory() as scratch:
        return _run(typed, Path(scratch))


def _missing() -> str | None:
    """What to install, in words."""
    absent = []
    for name in NEEDED:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
    if not absent:
        return None
    return f"these packages are missing, install them first: {', '.join(absent)} (pip install --editable . brings all)"


def _probe(smoke: bool) -> int:
    """Name of the device and what it runs with, as a line of JSON."""
    import torch

    from repro.harness.provenance import versions
    from repro.stages.timing import device_name

    if not smoke and not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} sees no CUDA device; --smoke runs every part on the CPU, with tiny networks",
            file=sys.stderr,
        )
        return 1
    device = torch.device("cpu" if smoke else "cuda")
    about = {"device": device_name(device), "cuda": None if smoke else torch.version.cuda, "versions": versions()}
    print(json.dumps(about))
    return 0


def _run(typed: argparse.Namespace, scratch: Path) -> int:
    import torch

    from repro.gpu import PAGE
    from repro.gpu_parts.task import Task
    from repro.kinds.gpu.journal import Journal
    from repro.kinds.gpu.measure import LOG

    task = Task(
        page=PAGE,
        smoke=typed.smoke,
        device=torch.device("cpu" if typed.smoke else "cuda"),
        end=time.monotonic() + typed.seconds,
        scratch=scratch,
        log=typed.state / LOG,
    )
    journal = Journal(typed.state)
    items = import_module(f"repro.gpu_parts.{typed.part}").items(task)
    finished, parent = journal.state(typed.part, typed.code), os.getppid()
    for item in items:
        if item.name in finished.finished:
            continue
        if task.left <= 0 or os.getppid() != parent:  # whoever started this was ended itself
            journal.add("end", part=typed.part, complete=False, code=typed.code)
            return 0
        journal.add("start", part=typed.part, item=item.name, seconds=round(task.left, 1), code=typed.code)
        error = _measure(item, typed.part, journal, task)
        if error is None:
            continue
        journal.add("failed", part=typed.part, item=item.name, error=error, code=typed.code)
        if not _usable(task):
            return BROKEN
    journal.add("end", part=typed.part, complete=True, code=typed.code)
    return 0


def _measure(item: "Item", part: str, journal: "Journal", task: "Task") -> str | None:
    """The error of an item that failed; None where it was measured, or its time was over."""
    from repro.gpu_parts.task import OutOfTime

    before = time.monotonic()
    try:
        found = item.measure()
    except OutOfTime:
        return None
    except Exception as error:  # whatever it is, it is this item's: the others go on
        traceback.print_exc()
        print(f"{part}: {item.name}: {type(error).__name__}", flush=True)
        return f"{type(error).__name__}: {error}".strip()[:2000]
    journal.done(part, item.name, found)
    print(f"{part}: {item.name}: {time.monotonic() - before:.1f} s", flush=True)
    return None


def _usable(task: "Task") -> bool:
    """Whether the device still works in this process; memory of what failed is given back first."""
    import torch

    gc.collect()
    if task.device.type != "cuda":
        return True
    try:
        torch.cuda.empty_cache()
        torch.ones(1, device=task.device).add_(1)
        torch.cuda.synchronize()
    except Exception:  # an illegal access spoils every later call
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
