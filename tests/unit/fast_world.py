"""Small SD3.5 transformers, students of them, and every combination of fast parts that is worth a test."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from conftest import make_transformer
from diffusers import SD3Transformer2DModel

from swd.backbones.base import Denoiser
from swd.backbones.fast import FastOptions
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.lora.bank import AdapterBank
from swd.lora.files import save_adapter
from swd.schedule import ScaleSchedule

SCHEDULE = ScaleSchedule((4, 6, 8), (1.0, 0.8, 0.5, 0.0))
OFF = FastOptions(
    merge_lora=False,
    modulation=False,
    text=False,
    positions=False,
    fused_norm=False,
    channels_last=False,
    compile=False,
    attention="native",
    prompt_cache=0,
)
ON = FastOptions(compile=False)
SWITCHES = {
    "merge_lora": True,
    "modulation": True,
    "text": True,
    "positions": True,
    "fused_norm": True,
    "channels_last": True,
    "attention": "math",
    "prompt_cache": 4,
}
PARTS = {
    "none": OFF,
    "all": ON,
    **{name: dataclasses.replace(OFF, **{name: value}) for name, value in SWITCHES.items()},
    **{f"all but {name}": dataclasses.replace(ON, **{name: getattr(OFF, name)}) for name in SWITCHES},
}


def assert_same(actual: torch.Tensor, expected: torch.Tensor, *, relative: float = 1e-5) -> None:
    """Equal up to the order in which products add up."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= relative * expected.abs().max()


def sd35(**changes: Any) -> SD3Transformer2DModel:
    """SD3.5 Medium in miniature: a block with a second attention, one without, and the last, which drops the text."""
    config = {key: value for key, value in make_transformer(num_layers=3).config.items() if not key.startswith("_")}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return SD3Transformer2DModel(**{**config, "dual_attention_layers": (0,), **changes}).eval()


def write_adapter(transformer: SD3Transformer2DModel, folder: Path, *, seed: int = 1) -> Path:
    """A student in a folder; the transformer is used up."""
    return write_student(SD3Denoiser(transformer), folder, seed=seed)


def write_student(denoiser: Denoiser, folder: Path, *, seed: int = 1) -> Path:
    """A student of any family in a folder; the network is used up."""
    bank = AdapterBank(denoiser, rank=4, alpha=6, seed=0)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bank.parameters("student"):
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng))
    save_adapter(bank, "student", folder)
    return folder
