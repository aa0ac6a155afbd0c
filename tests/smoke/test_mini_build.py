"""The build of the mini pipeline from nothing, a few iterations long: every stage runs and nothing runs twice."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from safetensors.torch import load_file

from repro.metrics.clip_score import load_clip
from repro.worlds.mini import build, fit, teacher
from repro.worlds.mini.clip import CLIP_FIT, train_clip
from repro.worlds.mini.decoder import DECODER_FIT, train_decoder
from repro.worlds.mini.vae import VAE_FIT, train_vae
from swd.pipelines import ScalewiseStableDiffusion3Pipeline

SIDES = {"low": (8,), "high": (16,), "mixed": (16, 8), "long": (8, 16)}
TINY = {"iterations": 2, "batch_size": 2, "warmup": 1, "save_every": 1}


@pytest.fixture(autouse=True)
def tiny_build(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [replace(s, sides=SIDES[s.name], fit=replace(s.fit, **TINY)) for s in teacher.STAGES]
    monkeypatch.setattr(build, "STAGES", tuple(stages))
    monkeypatch.setattr(build, "TRAIN_SCENES", 512)  # the VAE is whitened on so many
    monkeypatch.setattr(build, "CLIP_SCENES", 16)
    monkeypatch.setattr(build, "HELD_OUT_SCENES", 4)
    monkeypatch.setattr(build, "train_vae", partial(train_vae, config=replace(VAE_FIT, **TINY)))
    monkeypatch.setattr(build, "train_decoder", partial(train_decoder, config=replace(DECODER_FIT, **TINY)))
    monkeypatch.setattr(build, "train_clip", partial(train_clip, config=replace(CLIP_FIT, **TINY)))
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)  # compiling takes longer than all the rest


def test_a_build_leaves_a_pipeline_two_teachers_and_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, weights = tmp_path / "work", tmp_path / "weights"
    quality = build.build_pipeline(work, weights, torch.device("cpu"))
    pipeline = ScalewiseStableDiffusion3Pipeline.from_pretrained(weights / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline("a red star", schedule="mini-4", seeds=[0], output_type="pt").images
    assert images.shape == (1, 3, 64, 64)
    single = SD3Transformer2DModel.from_pretrained(weights / "teacher-single-side").state_dict()
    mixed = pipeline.transformer.state_dict()
    assert single.keys() == mixed.keys()
    assert any(not torch.equal(single[key], mixed[key]) for key in mixed)
    load_clip(weights / "clip")

    before = {path: load_file(path) for path in weights.rglob("*.safetensors")}
    monkeypatch.setattr(fit, "_save_state", lambda *_: pytest.fail("trained again"))
    assert build.build_pipeline(work, weights, torch.device("cpu")) == quality
    for path, tensors in before.items():
        assert all(torch.equal(value, tensors[key]) for key, value in load_file(path).items()), path.name


def test_a_new_decoder_leaves_the_encoder_and_the_whitening_alone(tmp_path: Path) -> None:
    shipped = Path(build.__file__).parent / "weights" / "pipeline" / "vae"
    copy = shutil.copytree(shipped, tmp_path / "weights" / "pipeline" / "vae")
    quality = build.rebuild_decoder(tmp_path / "work", tmp_path / "weights", torch.device("cpu"))
    assert quality > 30
    before, after = (AutoencoderKL.from_pretrained(folder) for folder in (shipped, copy))
    ours = after.state_dict()
    moved = {key.partition(".")[0] for key, value in before.state_dict().items() if not torch.equal(value, ours[key])}
    assert moved == {"decoder"}
    assert (after.config.shift_factor, after.config.scaling_factor) == (
        before.config.shift_factor,
        before.config.scaling_factor,
    )
