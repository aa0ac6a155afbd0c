"""Who trains in the benchmark: the plain order, then one saving after another until all of the lean order is there."""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from sampling_world import ARCHITECTURES, WEIGHTS

from repro.profiles import load_profile, sd35_architecture
from repro.stages.images import load_pipeline, text_encoders
from repro.stages.published_order import PlainStep
from repro.stages.random_weights import random_pipeline
from repro.stages.timing import free_bytes
from repro.worlds.mini.scenes import render, sample_scene
from swd.backbones import backbone_of, denoiser_of
from swd.cost import weight_bytes
from swd.data import LatentCache, build_cache
from swd.data.cache import Batch, data_rows
from swd.training import DistillConfig
from swd.training.cost import update_bytes
from swd.training.prefetch import ReadAhead
from swd.training.trainer import Trainer

Iterate = Callable[[int], dict[str, float]]
ORDERS = ("plain", "cached", "one_network", "fake_pass", "student_pass", "half", "memory", "lean")
_OFF = {
    "share_fake_pass": False,
    "share_student_pass": False,
    "gradient_checkpointing": "full",
    "prefetch": False,
}
SWITCHES: dict[str, dict[str, Any]] = {
    "one_network": _OFF,
    "fake_pass": {**_OFF, "share_fake_pass": True},
    "student_pass": {**_OFF, "share_fake_pass": True, "share_student_pass": True},
    "half": {"prefetch": False, "gradient_checkpointing": "half"},
    "memory": {"prefetch": False, "gradient_checkpointing": "off"},
    "lean": {"gradient_checkpointing": "off"},
}


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
    options = {**profile.distil.common, "batch_size": case.batch, "fake_updates": 5}
    options |= {"lr": 5e-6, "lr_fake": None, "lr_discriminator": None, "warmup": 0, "ema_decay": None}
    return DistillConfig(preset=case.preset, **{**options, "progress": False})


class World:
    """The same images, captions and networks for every order."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.folder, self.config = folder, config(case)
        self.pipeline = load(case)
        self.schedule, self.device = self.config.schedule(), torch.device(case.device)
        AcceleratorState._reset_state(reset_partial_state=True)  # it outlives the case before
        self.accelerator = Accelerator(cpu=case.device == "cpu", mixed_precision=self.config.mixed_precision)
        scenes = [sample_scene(number) for number in range(2 * case.batch)]
        pixels = self.schedule.scales[-1] * self.pipeline.vae_scale_factor
        drawn = torch.stack([torch.from_numpy(render(scene, pixels)) for scene in scenes]).permute(0, 3, 1, 2)
        self.images, self.captions = drawn / 127.5 - 1, [str(scene.caption) for scene in scenes]

    @cached_property
    def data(self) -> LatentCache:
        """Latents and embeddings, as the plain order encodes them."""
        scales = self.schedule.scales
        return build_cache(self.images, self.captions, self.pipeline, scales, self.folder / "cache", progress=False)

    def order(self, name: str) -> Iterate:
        """An iteration of one of ``ORDERS``, from the same adapters and head."""
        trainer = self._trainer(SWITCHES.get(name, {}))
        if name in SWITCHES:
            return self._lean(trainer)
        kind = _Cached if name == "cached" else PlainStep
        plain = kind(self.config, self.pipeline, self.accelerator.autocast)
        plain.adopt(trainer.bank, trainer.discriminator)
        return self._plain(plain)

    def network_bytes(self, name: str) -> int:
        """Weights that an order needs: one transformer or three, and what encodes, unless that is done."""
        encoders = (self.pipeline.vae, *text_encoders(self.pipeline)) if name == "plain" else ()
        return (1 if name in SWITCHES else 3) * weight_bytes(self.pipeline.transformer) + weight_bytes(*encoders)

    def _trainer(self, switches: dict[str, Any]) -> Trainer:
        denoiser = backbone_of(self.pipeline).denoiser(copy.deepcopy(self.pipeline.transformer))
        return Trainer(replace(self.config, **switches), denoiser, self.data, self.folder, self.accelerator)

    def _lean(self, trainer: Trainer) -> Iterate:
        read = ReadAhead(trainer.draws.read, sys.maxsize, active=trainer.config.prefetch)
        read.__enter__()  # its thread ends with the process
        return lambda iteration: trainer._iterate(iteration, read(iteration))

    def _plain(self, plain: PlainStep) -> Iterate:
        def iterate(iteration: int) -> dict[str, float]:
            step, updates = iteration % self.schedule.num_steps, self.config.fake_updates + 1
            drawn = [self._draw(plain, iteration * updates + update, step) for update in range(updates)]
            return plain.iterate(iteration, step, drawn)

        return iterate

    def _draw(self, plain: PlainStep, position: int, step: int) -> Any:
        rows = data_rows(self.config.seed, position, self.config.batch_size, len(self.captions))
        if isinstance(plain, _Cached):
            return self.data.batch(rows, self.schedule, step).to(self.device)
        return self.images[rows].to(self.device), [self.captions[row] for row in rows]


class _Cached(PlainStep):
    """Finds its batches encoded."""

    def encode(self, draw: Any, step: int) -> Batch:
        found: Batch = draw
        return found


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
