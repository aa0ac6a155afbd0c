"""Builds the mini pipeline from nothing: VAE, its decoder once more, text towers, teacher, mini-CLIP.

Every stage is seeded, saves its state and resumes from it, so the build may be stopped at any time and started
again. The transformer is stored in half precision; the students are distilled from what is stored.
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from torch import nn
from transformers import CLIPTokenizer

from repro.worlds.mini.clip import save_clip, train_clip
from repro.worlds.mini.data import CLIP_SEEDS, HELD_OUT_SEEDS, TRAIN_SEEDS, Scenes, render_scenes
from repro.worlds.mini.decoder import train_decoder
from repro.worlds.mini.teacher import (
    STAGES,
    TIME_SHIFT,
    caption_ids,
    encode_scenes,
    new_teacher,
    new_transformer,
    train_stage,
)
from repro.worlds.mini.text import new_tokenizer
from repro.worlds.mini.vae import psnr, train_vae
from swd.files import save_tensors

TRAIN_SCENES, CLIP_SCENES, HELD_OUT_SCENES = 20_000, 12_000, 500
SINGLE_SIDE = "high"  # the stage whose result is kept as the teacher that has forgotten low sides


def build_pipeline(work: Path, weights: Path, device: torch.device) -> float:
    """Run every stage that is not finished, then write the weights.

    Args:
        work: states, logs, rendered scenes and latents.
        weights: receives ``pipeline``, ``teacher-single-side`` and ``clip``.
        device: where to train.

    Returns:
        PSNR of the VAE in dB on held-out scenes.
    """
    scenes, tokenizer = _training_scenes(work), new_tokenizer()
    vae = train_decoder(train_vae(scenes, work / "vae", device), scenes, work / "decoder", device)
    ids = caption_ids(tokenizer, scenes.captions)
    teacher = new_teacher(tokenizer, STAGES[0].fit.seed).to(device)
    for stage in STAGES:
        latents = {
            side: encode_scenes(vae, scenes, side, work / f"latents-{side}.safetensors") for side in set(stage.sides)
        }
        teacher.load_state_dict(train_stage(teacher, stage, latents, ids, work / f"teacher-{stage.name}").state_dict())
        if stage.name == SINGLE_SIDE:
            _half_copy(teacher["transformer"]).save_pretrained(weights / "teacher-single-side")
    save_pipeline(vae, tokenizer, teacher, weights / "pipeline")
    clip_scenes = render_scenes(CLIP_SEEDS, CLIP_SCENES, work / "scenes-clip.safetensors")
    save_clip(train_clip(clip_scenes, tokenizer, work / "clip", device), tokenizer, weights / "clip")
    return _held_out_psnr(vae)


def rebuild_decoder(work: Path, weights: Path, device: torch.device) -> float:
    """Train the decoder of the stored pipeline on and put it into the stored VAE; nothing else changes.

    Args:
        work: state, log and rendered scenes.
        weights: holds ``pipeline``.
        device: where to train.

    Returns:
        PSNR of the VAE in dB on held-out scenes.
    """
    folder = weights / "pipeline" / "vae"
    vae = AutoencoderKL.from_pretrained(folder)
    vae = train_decoder(vae, _training_scenes(work), work / "decoder", device)
    save_tensors(folder / SAFETENSORS_WEIGHTS_NAME, vae.to("cpu").state_dict(), {"format": "pt"})  # the config stays
    return _held_out_psnr(vae)


def _training_scenes(work: Path) -> Scenes:
    return render_scenes(TRAIN_SEEDS, TRAIN_SCENES, work / "scenes-train.safetensors")


def _held_out_psnr(vae: AutoencoderKL) -> float:
    scenes = render_scenes(HELD_OUT_SEEDS, HELD_OUT_SCENES)
    return psnr(vae, scenes.batch(torch.arange(len(scenes))).to(vae.device))


def save_pipeline(vae: AutoencoderKL, tokenizer: CLIPTokenizer, teacher: nn.ModuleDict, folder: Path) -> None:
    """Write a complete StableDiffusion3Pipeline folder, without T5; its transformer in half precision."""
    pipeline = StableDiffusion3Pipeline(
        transformer=_half_copy(teacher["transformer"]),
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
    pipeline.to("cpu").save_pretrained(partial)
    index = json.loads((partial / "model_index.json").read_text())
    (partial / "model_index.json").write_text(json.dumps({**index, "max_sequence_length": 0}, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _half_copy(transformer: nn.Module) -> SD3Transformer2DModel:
    copy = new_transformer()
    copy.load_state_dict(transformer.state_dict())
    return copy.half()
