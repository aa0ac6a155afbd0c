"""A training that goes on from a finished student, watched at its last iteration."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.harness.experiment import Row
from repro.harness.files import ROOT
from repro.harness.profile import Profile
from repro.kinds.method.declare import TrainingFigure
from repro.stages.one_process import lone_accelerator
from repro.stages.store import StageStore
from repro.stages.students import latent_cache
from repro.worlds.base import World, load_world
from swd.backbones import denoiser_of
from swd.data.cache import data_rows
from swd.training.config import DistillConfig
from swd.training.state import LossLog
from swd.training.step import DistillationStep
from swd.training.trainer import Trainer
from swd.training.watching import FakePass, MatchingPass, Observation, PatchPass, StudentPass


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """What a training reads.

    Attributes:
        world: of so many training images.
        images: uint8 or in [-1, 1], (3, H, W) each.
        captions: one for each.
        source: their name.
    """

    world: World
    images: Sequence[Tensor]
    captions: Sequence[str]
    source: str

    def pixels(self, row: int) -> Tensor:
        """One of them, (3, H, W) in [0, 1]."""
        image = self.images[row]
        return image / 255 if image.dtype == torch.uint8 else (image + 1) / 2


def training_images(figure: TrainingFigure, profile: Profile) -> TrainingImages:
    """The first training images of the profile's world, as many as the figure reads."""
    fewer = replace(profile, data=replace(profile.data, training_images=figure.images_of(profile)))
    world = load_world(fewer, ROOT)
    return TrainingImages(world, *world.training_images())


def original(config: DistillConfig, images: TrainingImages, place: int) -> tuple[int, str]:
    """Number and caption of an image of the student's batch in the last iteration."""
    batch = config.iterations * config.batches - 1
    row = data_rows(config.seed, batch, config.batch_size, len(images.captions))[place]
    return row, images.captions[row]


@dataclass
class Watched:
    """The newest pass of each kind, and the losses of the last iteration.

    Attributes:
        passes: by their class.
        losses: means over the batch, of the fake model's over its updates too.
    """

    passes: dict[type[Observation], Observation] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    def see(self, observation: Observation) -> None:
        """Take note of a pass in place of the one before."""
        self.passes[type(observation)] = observation

    @property
    def student(self) -> StudentPass:
        """The student's pass."""
        found = self.passes[StudentPass]
        assert isinstance(found, StudentPass)
        return found

    @property
    def patch(self) -> PatchPass:
        """What PDM compared."""
        found = self.passes[PatchPass]
        assert isinstance(found, PatchPass)
        return found

    @property
    def matching(self) -> MatchingPass:
        """What DMD compared."""
        found = self.passes[MatchingPass]
        assert isinstance(found, MatchingPass)
        return found

    @property
    def fake(self) -> FakePass:
        """The last update of the fake model."""
        found = self.passes[FakePass]
        assert isinstance(found, FakePass)
        return found

    def latents(self, place: int) -> dict[str, Tensor]:
        """What the figure shows, by name, (C, s, s) each; the fake model's update is of another batch."""
        student, patch, matching, fake = self.student, self.patch, self.matching, self.fake
        assert matching.teacher_x0 is not None
        assert matching.fake_x0 is not None
        found = {
            "target": student.batch.target,
            "lower": student.batch.lower,
            "upscaled": student.upscaled,
            "x_t": student.x_t,
            "x0": student.x0,
            "patch real": patch.real,
            "patch fake": patch.fake,
            "renoised": matching.x_t,
            "teacher": matching.teacher_x0,
            "fake": matching.fake_x0,
            "sample": fake.x0,
            "sample renoised": fake.x_t,
            "sample predicted": fake.prediction,
        }
        return {name: latents[place] for name, latents in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a training starts from.

    Attributes:
        store: where finished stages are: latents are encoded once.
        pipeline: the teacher's.
        pipeline_digest: hash of its files.
        adapter: the student to go on from.
        row: of that student.
        device: where to train.
    """

    store: StageStore
    pipeline: Any
    pipeline_digest: str
    adapter: Path
    row: Row
    device: torch.device


def trained(setting: Setting, config: DistillConfig, images: TrainingImages) -> Watched:
    """Train on to the last iteration, which is what is left of it; the student itself is thrown away.

    Args:
        setting: the teacher, and the student to go on from.
        config: the recipe, of as many iterations as are to be done.
        images: to train on.
    """
    cache = latent_cache(setting.store, images.world, (setting.row,), setting.pipeline, setting.pipeline_digest)
    accelerator = lone_accelerator(setting.device, config.mixed_precision)
    seen, denoiser = Watched(), denoiser_of(setting.pipeline)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        trainer = Trainer(config, denoiser, cache, output, accelerator, student=setting.adapter)
        assert isinstance(trainer.steps, DistillationStep)  # a scale-wise student has no other
        trainer.steps = replace(trainer.steps, watch=seen.see)
        trainer.run(resume=False)
        seen.losses = LossLog.in_folder(output).lines()[-1]
    return seen
