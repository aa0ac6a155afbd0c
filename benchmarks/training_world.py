"""Who trains in the benchmark: the plain order, then one saving after another until all of the lean order is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from sampling_world import ARCHITECTURES, WEIGHTS

from repro.profiles import load_profile, sd35_architecture
from repro.stages.images import load_pipeline, text_encoders
from repro.stages.random_weights import random_pipeline
from repro.stages.timing import free_bytes
from repro.stages.training_orders import ORDERS, PUBLISHED, SWITCHES, Iterate, TrainingOrders
from repro.worlds.mini.scenes import render, sample_scene
from swd.backbones import backbone_of, denoiser_of
from swd.cost import weight_bytes
from swd.training import DistillConfig
from swd.training.cost import update_bytes

__all__ = ["ORDERS", "PARAMETERS", "Case", "Iterate", "TrainingOrders", "skip_unless_it_fits", "world"]


@dataclass(frozen=True)
class Case:
    """What is trained, where.

    Attributes:
        model: "mini", or an SD3.5 with random weights.
        preset: schedule.
        batch: samples of an update.
        device, dtype: of all networks.
    """

    model: str
    preset: str
    batch: int
    device: str
    dtype: str

    @property
    def id(self) -> str:
        return f"{self.model}-{self.preset}-batch{self.batch}-{self.dtype}-{self.device}"


CASES = [
    Case("mini", "mini-6", 2, "cpu", "float32"),
    Case("sd35-medium", "sd35-6", 4, "cuda", "bfloat16"),
]
PARAMETERS = [pytest.param(case, id=case.id) for case in CASES]


def config(case: Case) -> DistillConfig:
    """The published losses, number of fake updates and optimiser, with the options that the model needs."""
    profile = load_profile(case.model)
    options = {**profile.distil.common, "batch_size": case.batch, **PUBLISHED}
    return DistillConfig(preset=case.preset, **options)


def world(case: Case, folder: Path) -> TrainingOrders:
    """Scenes of the mini world at the size that the model takes."""
    options, pipeline = config(case), load(case)
    scenes = [sample_scene(number) for number in range(2 * case.batch)]
    pixels = options.schedule().scales[-1] * pipeline.vae_scale_factor
    drawn = torch.stack([torch.from_numpy(render(scene, pixels)) for scene in scenes]).permute(0, 3, 1, 2)
    return TrainingOrders(options, pipeline, drawn / 127.5 - 1, [str(scene.caption) for scene in scenes], folder)


def load(case: Case) -> Any:
    if case.model == "mini":
        return load_pipeline(WEIGHTS / "pipeline", case.dtype, torch.device(case.device))
    architecture = {**sd35_architecture.PIPELINE, "transformer": ARCHITECTURES[case.model]}
    return random_pipeline(architecture, torch.device(case.device), getattr(torch, case.dtype))


def skip_unless_it_fits(case: Case) -> None:
    if case.device != "cuda":
        return
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, torch sees none")
    architecture = {**sd35_architecture.PIPELINE, "transformer": ARCHITECTURES[case.model]}
    pipe = random_pipeline(architecture, torch.device("meta"), getattr(torch, case.dtype))
    tokens = backbone_of(pipe).count_text_tokens(pipe, pipe.config.max_sequence_length)
    # every order has networks of its own, the plain ones three each; activations are counted in float32
    networks = weight_bytes(pipe.vae, *text_encoders(pipe)) + (len(SWITCHES) + 7) * weight_bytes(pipe.transformer)
    held = update_bytes(denoiser_of(pipe), config(case), text_tokens=tokens, batch=case.batch) // 2
    if networks + held > free_bytes(torch.device(case.device)):
        pytest.skip(f"needs about {(networks + held) / 2**30:.0f} GiB")
