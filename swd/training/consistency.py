"""A student update of latent consistency distillation, as a loss: no optimiser, no logging, no clock.

LCM (Luo et al. 2023, arXiv 2310.04378) as LCM-LoRA trains it (arXiv 2311.05556), in the library's terms:

    sigma = grid[n], sigma' = grid[n + k]      n uniform in 0..N-k of the teacher's falling grid, k levels apart
    x = (1 - sigma) x0 + sigma eps             data, at the noisier level; at sigma = 1 noise alone, as sampling starts
    x' = Psi(x, sigma -> sigma')               one step of the teacher's ODE under guidance (Euler; DDIM for SDXL)
    L = d(student(x, sigma), target(x', sigma'))

and target(x', 0) = x': the trajectory has arrived. The student is sampled like every other one: predict x0, renoise it
to the next sigma of its schedule, repeat (multistep consistency sampling). Where the paper draws a guidance scale for
each image and tells it to the network, here it is one number and the network hears nothing of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from swd.backbones.base import Condition, Denoiser
from swd.data.cache import Batch
from swd.flow import NoiseProcess
from swd.guidance import with_guidance
from swd.lora.bank import AdapterBank
from swd.losses import consistency_loss
from swd.rng import StepRandom
from swd.schedule import ScaleSchedule
from swd.training.config import DistillConfig
from swd.training.step import StudentStepResult


@dataclass(frozen=True, slots=True)
class ConsistencyStep:
    """The loss for fixed networks and options.

    Call ``student`` and go backward inside ``bank.trainable("student")``, and ``updated`` after the optimiser's step.

    Attributes:
        config: grid, distance, guidance.
        schedule: the student's scale, and how it will be sampled.
        bank: teacher and student on one base network, and the student's average where the target is one.
        empty: embedding of the empty prompt, (1, ...).
    """

    config: DistillConfig
    schedule: ScaleSchedule
    bank: AdapterBank[Denoiser]
    empty: Condition

    def student(self, batch: Batch, step: int, random: StepRandom) -> StudentStepResult:
        """L_LCM on data of the student's scale; the same for every ``step`` of the schedule, whatever its sigma."""
        config = self.config
        sigma, lower = (level.to(batch.target.device) for level in self._levels(random))
        x_t = self._noised(batch.target, random.normal("student", batch.target), sigma)
        with torch.no_grad():
            target = self._target(self._solved(x_t, sigma, lower, batch.cond), lower, batch.cond)
        with self.bank.use("student"):
            x0: Tensor = self.bank.denoiser(x_t, sigma, batch.cond)
        distance, huber_c = config.consistency_distance, config.consistency_huber_c
        loss = consistency_loss(x0, target, distance=distance, huber_c=huber_c)
        return StudentStepResult(loss, {"consistency": loss}, x0.detach())

    @torch.no_grad()
    def updated(self) -> None:
        """The student's average follows it, where the target is taken from one."""
        decay = self.config.consistency_decay
        if decay is None:
            return
        student = self.bank.state_dict("student")
        for name, average in self.bank.state_dict("target").items():
            average.lerp_(student[name], 1 - decay)

    @property
    def _process(self) -> NoiseProcess:
        return self.bank.denoiser.process

    def _levels(self, random: StepRandom) -> tuple[Tensor, Tensor]:
        """Noise levels of the two points of every image, (B,) each; the second may be 0."""
        grid, skip = torch.tensor(self.config.sigma_grid(), dtype=torch.float32), self.config.consistency_skip
        indices = random.indices("consistency level", 0, len(grid) - skip)
        return grid[indices], grid[indices + skip]

    def _noised(self, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """``x_t``; a variance-preserving process would leave 6.8 % of x0 at sigma = 1: docs/decisions/sdxl.md."""
        return torch.where(_images(sigma) == 1, noise, self._process.add_noise(x0, noise, sigma))

    def _solved(self, x_t: Tensor, sigma: Tensor, lower: Tensor, cond: Condition) -> Tensor:
        """One step of the teacher's ODE under guidance."""
        with self.bank.use(None):
            x0 = with_guidance(self.bank.denoiser, self.empty, self.config.guidance_scale)(x_t, sigma, cond)
        return self._process.lower_noise(x_t, x0, sigma, lower)

    def _target(self, x_t: Tensor, sigma: Tensor, cond: Condition) -> Tensor:
        """f_theta-(x_t, sigma), which is ``x_t`` where nothing is left to remove: no network is asked at sigma = 0."""
        smallest = self.config.sigma_grid()[-2]
        with self.bank.use("target" if "target" in self.bank.names else "student"):
            x0 = self.bank.denoiser(x_t, sigma.clamp(min=smallest), cond)
        return torch.where(_images(sigma) == 0, x_t, x0)


def _images(sigma: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1)."""
    return sigma[:, None, None, None]
