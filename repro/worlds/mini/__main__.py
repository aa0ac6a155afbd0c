"""`python -m repro.worlds.mini`: builds the mini pipeline and the students of Table 2, writes weights and report."""

import argparse
import sys
import time
from pathlib import Path

import torch

from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, OutputError, probe_writable
from repro.harness.provenance import git_stamp
from repro.metrics import WeightsError
from repro.stages.store import StageStore
from repro.worlds.mini.build import build_pipeline
from repro.worlds.mini.fit import StateError
from repro.worlds.mini.report import draw_curves, write_report
from repro.worlds.mini.ship import ship_students
from swd.errors import USER_ERRORS

WEIGHTS = ROOT / "repro" / "worlds" / "mini" / "weights"
WORK = ROOT / "results" / "mini-build"
STAGES = ROOT / "results" / "stages"


def main() -> int:
    """Run what is not finished; returns the exit status. May be stopped at any time and started again."""
    try:
        return _build()
    except (ExperimentError, FloatingPointError, OutputError, StateError, WeightsError, *USER_ERRORS) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last saved state", file=sys.stderr)
        return 130


def _build() -> int:
    parser = argparse.ArgumentParser(prog="python -m repro.worlds.mini", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK, help="folder of states, logs and rendered scenes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch device")
    options = parser.parse_args()
    for folder in (options.work, STAGES, WEIGHTS):
        probe_writable(folder)
    began, device = time.perf_counter(), torch.device(options.device)
    psnr = build_pipeline(options.work, WEIGHTS, device)
    logs = {folder.parent.name: folder for folder in sorted(options.work.glob("*/log.jsonl"))}
    logs |= ship_students(StageStore(STAGES, stamp=git_stamp(ROOT)), ROOT, device)
    facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "vae_psnr_db": round(psnr, 2)}
    write_report(WEIGHTS / "training.json", logs, facts)
    draw_curves(WEIGHTS / "training.json", WEIGHTS / "training.png")
    print(f"{WEIGHTS} is complete ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
