"""Data and random numbers of every update: a function of its place in the run, whatever came before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from swd.data.cache import Batch, LatentCache, data_rows
from swd.rng import StepRandom
from swd.schedule import ScaleSchedule
from swd.training.config import DistillConfig


@dataclass(frozen=True, slots=True)
class Piece:
    """Images of an update that work at one step of the schedule.

    Attributes:
        step: of the schedule.
        batch: data at its scale.
        random: numbers of these images.
    """

    step: int
    batch: Batch
    random: StepRandom

    def __len__(self) -> int:
        """Number of images."""
        return len(self.batch)

    def __getitem__(self, rows: slice) -> "Piece":
        """Some of the images."""
        return Piece(self.step, self.batch[rows], self.random[rows])


Drawn = tuple[Piece, ...]
"""This process's share of an update: one piece, or with mixed steps one for each step that was drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What one process of a run reads.

    Attributes:
        config: batch size, number of fake updates, seed.
        schedule: of the student; iterations cycle over its steps.
        data: latents and conditions.
        device: where batches go.
        processes: how many share each batch.
        process: which of them this is.
    """

    config: DistillConfig
    schedule: ScaleSchedule
    data: LatentCache
    device: torch.device
    processes: int
    process: int

    def read(self, iteration: int) -> list[Drawn]:
        """Those of an iteration: one for each fake update, and the student's last."""
        count = self.config.batches - 1
        fake = [self.one(iteration, n, f"fake {n}") for n in range(count if self.config.uses_fake else 0)]
        return [*fake, self.one(iteration, count, "student")]

    def one(self, iteration: int, update: int, name: str) -> Drawn:
        """This process's share of a batch; a sample's number does not depend on how many processes share it."""
        config, share = self.config, self.config.batch_size // self.processes
        mine = range(share * self.process, share * (self.process + 1))
        rows = data_rows(config.seed, self.position(iteration) + update, config.batch_size, len(self.data))
        random = StepRandom(config.seed, iteration, name, mine)
        if not config.mixed_steps:
            return (self._piece(iteration % self.schedule.num_steps, rows, random),)
        steps = random.indices("step", 0, self.schedule.num_steps).tolist()
        of_step = {step: [place for place, own in zip(mine, steps, strict=True) if own == step] for step in set(steps)}
        return tuple(self._piece(step, rows, replace(random, samples=own)) for step, own in sorted(of_step.items()))

    def _piece(self, step: int, rows: Sequence[int], random: StepRandom) -> Piece:
        """The images in ``rows`` at the places of ``random``."""
        own, latents = [rows[place] for place in random.samples], self.config.downscale == "latents"
        drawn = random if self.config.sample_latents else None
        batch = self.data.batch(own, self.schedule, step, drawn, from_latents=latents)
        return Piece(step, batch.to(self.device), random)

    def position(self, iteration: int) -> int:
        """Batches read before ``iteration``; the fake model's count whether or not it is trained."""
        return iteration * self.config.batches
