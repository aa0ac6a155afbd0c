"""`python -m repro.worlds.mini`: builds the mini pipeline and the students of Tables 2 and 4, and a report of it."""

import argparse
import sys
import time
from pathlib import Path

import torch

from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, OutputError, probe_writable
from repro.metrics import WeightsError
from repro.stages.store import StageStore
from repro.worlds.mini.build import build_pipeline, rebuild_decoder
from repro.worlds.mini.fit import StateError
from repro.worlds.mini.report import draw_curves, extend_report, write_report
from repro.worlds.mini.ship import STUDENTS, ship_students
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
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--students", nargs="+", choices=STUDENTS, help="distil these alone, from the stored pipeline")
    parts.add_argument("--decoder", action="store_true", help="train the stored VAE's decoder on, and nothing else")
    options = parser.parse_args()
    for folder in (options.work, STAGES, WEIGHTS):
        probe_writable(folder)
    began, device = time.perf_counter(), torch.device(options.device)
    store = StageStore.stamped(STAGES)
    if options.students:
        extend_report(WEIGHTS / "training.json", ship_students(store, ROOT, device, options.students))
    elif options.decoder:
        psnr = rebuild_decoder(options.work, WEIGHTS, device)
        log = options.work / "decoder" / "log.jsonl"
        extend_report(WEIGHTS / "training.json", {"decoder": log}, {"vae_psnr_db": round(psnr, 2)})
    else:
        psnr = build_pipeline(options.work, WEIGHTS, device)
        logs = {folder.parent.name: folder for folder in sorted(options.work.glob("*/log.jsonl"))}
        facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "vae_psnr_db": round(psnr, 2)}
        write_report(WEIGHTS / "training.json", logs | ship_students(store, ROOT, device), facts)
    draw_curves(WEIGHTS / "training.json", WEIGHTS / "training.png")
    print(f"{WEIGHTS} is complete ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
