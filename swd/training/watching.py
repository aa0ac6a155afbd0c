"""What may be watched of a training step: the tensors that its losses are made of, as they were at that moment.

A `Watch` is called once for each pass below and gives nothing back. Its tensors are detached and are the very ones that
the losses read, not copies: whoever wants to keep them keeps them as they are, or clones what is to be changed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from swd.data.cache import Batch
from swd.rng import StepRandom


@dataclass(frozen=True, slots=True)
class StudentPass:
    """The student's prediction, and what it started from.

    Attributes:
        random: of the update: its iteration, and the places of these images in the batch.
        step: of the schedule.
        sigma: noise level of the step, in (0, 1].
        batch: the pair of latents: ``lower`` at the scale before, ``target`` at that of the step.
        upscaled: ``lower`` at the scale of the step, (B, C, s, s).
        x_t: what the student saw, (B, C, s, s).
        x0: what it predicted, (B, C, s, s).
    """

    random: StepRandom
    step: int
    sigma: float
    batch: Batch
    upscaled: Tensor
    x_t: Tensor
    x0: Tensor


@dataclass(frozen=True, slots=True)
class PatchPass:
    """What PDM compares by its features; both clean where ``pdm_noise`` is off, and sigma 0.

    Attributes:
        random: of the update.
        sigma: noise level of each image, (B,).
        fake: the student's x0 under noise, (B, C, s, s).
        real: the target under the same noise, (B, C, s, s).
    """

    random: StepRandom
    sigma: Tensor
    fake: Tensor
    real: Tensor


@dataclass(frozen=True, slots=True)
class MatchingPass:
    """What DMD compares, and the GAN judges.

    Attributes:
        random: of the update.
        sigma: noise level of each image, (B,).
        x_t: the student's x0 under noise, (B, C, s, s).
        teacher_x0: what the guided teacher makes of it, (B, C, s, s); None without DMD.
        fake_x0: what the fake model makes of it, (B, C, s, s); None without DMD.
    """

    random: StepRandom
    sigma: Tensor
    x_t: Tensor
    teacher_x0: Tensor | None
    fake_x0: Tensor | None


@dataclass(frozen=True, slots=True)
class FakePass:
    """What the fake model learns, in an update of its own and on a batch of its own.

    Attributes:
        random: of the update.
        sigma: noise level of each image, (B,).
        x0: the student's samples, (B, C, s, s).
        x_t: the same under noise, (B, C, s, s).
        prediction: the fake model's x0 of ``x_t``, (B, C, s, s).
    """

    random: StepRandom
    sigma: Tensor
    x0: Tensor
    x_t: Tensor
    prediction: Tensor


Observation = StudentPass | PatchPass | MatchingPass | FakePass
Watch = Callable[[Observation], None]


def unwatched(seen: Observation) -> None:
    """Nobody looks."""
