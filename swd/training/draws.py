"""Data and random numbers of every update: a function of its place in the run, whatever came before."""

from dataclasses import dataclass

import torch

from swd.data.cache import Batch, LatentCache, data_rows
from swd.rng import StepRandom
from swd.schedule import ScaleSchedule
from swd.training.config import DistillConfig

Drawn = tuple[Batch, StepRandom]


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
        step, count = iteration % self.schedule.num_steps, self.config.batches - 1
        fake = [self.one(iteration, n, step, f"fake {n}") for n in range(count if self.config.uses_fake else 0)]
        return [*fake, self.one(iteration, count, step, "student")]

    def one(self, iteration: int, update: int, step: int, name: str) -> Drawn:
        """This process's share of a batch; a sample's number does not depend on how many processes share it."""
        config, share = self.config, self.config.batch_size // self.processes
        mine = range(share * self.process, share * (self.process + 1))
        rows = data_rows(config.seed, self.position(iteration) + update, config.batch_size, len(self.data))
        random = StepRandom(config.seed, iteration, name, mine)
        drawn = random if config.sample_latents else None
        batch = self.data.batch([rows[place] for place in mine], self.schedule, step, drawn)
        return batch.to(self.device), random

    def position(self, iteration: int) -> int:
        """Batches read before ``iteration``; the fake model's count whether or not it is trained."""
        return iteration * self.config.batches
