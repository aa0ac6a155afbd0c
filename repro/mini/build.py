"""Builds the mini pipeline from nothing: VAE, text towers, teacher, mini-CLIP, and a report. `nox -s mini`.

Every stage is seeded, saves its state and resumes from it, so the build may be stopped at any time and started
again. Weights are stored in half precision; the students are distilled from what is stored. Students follow with
`python -m repro.mini.students`.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import nn
from transformers import CLIPTokenizer

from repro.harness.files import probe_writable
from repro.mini.clip import save_clip, train_clip
from repro.mini.data import CLIP_SEEDS, HELD_OUT_SEEDS, TRAIN_SEEDS, render_scenes
from repro.mini.teacher import STAGES, TIME_SHIFT, caption_ids, encode_scenes, new_teacher, new_transformer, train_stage
from repro.mini.text import new_tokenizer
from repro.mini.vae import psnr, train_vae

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "repro" / "mini" / "weights"
WORK = ROOT / "results" / "mini-build"
TRAIN_SCENES, CLIP_SCENES, HELD_OUT_SCENES = 20_000, 12_000, 500
SINGLE_SIDE = "high"  # the stage whose result is kept as the teacher that has forgotten low sides


def build(work: Path, weights: Path, device: torch.device) -> None:
    """Run every stage that is not finished, then write the weights.

    Args:
        work: states, logs, rendered scenes and latents.
        weights: receives ``pipeline``, ``teacher-single-side``, ``clip`` and ``build.json``.
        device: where to train.
    """
    scenes = render_scenes(TRAIN_SEEDS, TRAIN_SCENES, work / "scenes-train.safetensors")
    tokenizer = new_tokenizer()
    vae = train_vae(scenes, work / "vae", device)
    held_out = render_scenes(HELD_OUT_SEEDS, HELD_OUT_SCENES)
    quality = psnr(vae, held_out.batch(torch.arange(HELD_OUT_SCENES)).to(device))
    ids = caption_ids(tokenizer, scenes.captions)
    teacher = new_teacher(tokenizer, STAGES[0].fit.seed).to(device)
    for stage in STAGES:
        latents = {
            side: encode_scenes(vae, scenes, side, work / f"latents-{side}.safetensors") for side in set(stage.sides)
        }
        teacher.load_state_dict(train_stage(teacher, stage, latents, ids, work / f"teacher-{stage.name}").state_dict())
        if stage.name == SINGLE_SIDE:
            _save_half(teacher["transformer"], weights / "teacher-single-side")
    save_pipeline(vae, tokenizer, teacher, weights / "pipeline")
    clip_scenes = render_scenes(CLIP_SEEDS, CLIP_SCENES, work / "scenes-clip.safetensors")
    save_clip(train_clip(clip_scenes, tokenizer, work / "clip", device), tokenizer, weights / "clip")
    _write_report(work, weights / "build.json", quality)


def save_pipeline(vae: AutoencoderKL, tokenizer: CLIPTokenizer, teacher: nn.ModuleDict, folder: Path) -> None:
    """Write a complete StableDiffusion3Pipeline folder, without T5, in half precision."""
    pipeline = StableDiffusion3Pipeline(
        transformer=_copy(teacher["transformer"]),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=TIME_SHIFT),
        vae=vae,
        text_encoder=teacher["towers"][0],
        tokenizer=tokenizer,
        text_encoder_2=teacher["towers"][1],
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.to("cpu", torch.float16).save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _copy(transformer: nn.Module) -> SD3Transformer2DModel:
    copy = new_transformer()
    copy.load_state_dict(transformer.state_dict())
    return copy


def _save_half(transformer: nn.Module, folder: Path) -> None:
    _copy(transformer).half().save_pretrained(folder)


def _write_report(work: Path, path: Path, vae_psnr: float) -> None:
    """Times and final losses of every stage; the curves stay in the logs."""
    logs = {folder.name: _read_log(folder / "log.jsonl") for folder in sorted(work.iterdir()) if folder.is_dir()}
    stages = {
        name: {
            "iterations": rows[-1]["iteration"] + 1,
            "seconds": _total_seconds(rows),
            "curve": [[row["iteration"], row["loss"]] for row in rows[:: max(1, len(rows) // 60)]],
        }
        for name, rows in logs.items()
        if rows
    }
    report = {"torch": torch.__version__, "vae_psnr_db": round(vae_psnr, 2), "stages": stages}
    path.write_text(json.dumps(report, indent=1) + "\n")


def _read_log(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _total_seconds(rows: list[dict[str, float]]) -> float:
    """Sum over sessions: the clock of the log starts anew with each."""
    ends = [row["seconds"] for row, later in zip(rows, rows[1:], strict=False) if later["seconds"] < row["seconds"]]
    return round(sum(ends) + rows[-1]["seconds"], 1)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m repro.mini.build", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work", type=Path, default=WORK, help="folder of states and logs (default: results/mini-build)"
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder to write (default: repro/mini/weights)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch device")
    options = parser.parse_args()
    for folder in (options.work, options.weights):
        probe_writable(folder)
    began = time.perf_counter()
    build(options.work, options.weights, torch.device(options.device))
    print(f"built {options.weights} in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
