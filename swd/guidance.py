"""Classifier-free guidance around any denoiser, with conditions made ahead of the loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor

from swd.flow import NoiseProcess, guide
from swd.grid import TeacherGrid
from swd.predictor import CondT, X0Predictor


@dataclass(frozen=True, slots=True)
class Doubled(Generic[CondT]):
    """Condition of one guided evaluation with both kinds of rows, joined ahead of the loop.

    Attributes:
        rows: unconditional rows, then conditional ones.
    """

    rows: CondT


@dataclass(frozen=True, slots=True)
class Guided(Generic[CondT]):
    """A denoiser with classifier-free guidance, one doubled batch per evaluation.

    Attributes:
        denoiser: evaluated on (unconditional, conditional) rows.
        uncond: condition of the empty prompt, one row or one per image.
        guidance_scale: 1 is no guidance.
    """

    denoiser: X0Predictor[CondT]
    uncond: CondT
    guidance_scale: float

    @property
    def process(self) -> NoiseProcess:
        """What ``x_t`` is."""
        return self.denoiser.process

    @property
    def grid(self) -> TeacherGrid:
        """How the undistilled model samples."""
        return self.denoiser.grid

    @property
    def latent_channels(self) -> int:
        """C of the latents."""
        return self.denoiser.latent_channels

    @property
    def patch_size(self) -> int:
        """Latent sides are its multiples."""
        return self.denoiser.patch_size

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: CondT | Doubled[CondT]) -> Tensor:
        """Guided clean estimate (B, C, H, W)."""
        both = cond.rows if isinstance(cond, Doubled) else self._double(cond, len(x_t))
        uncond_x0, cond_x0 = self.denoiser(torch.cat([x_t, x_t]), torch.cat([sigma, sigma]), both).chunk(2)
        return guide(cond_x0, uncond_x0, self.guidance_scale)

    def prepare(self, sigmas: Tensor, cond: CondT) -> list[Doubled[CondT]]:
        """One doubled condition per evaluation at ``sigmas`` (K, B)."""
        both = self._double(cond, sigmas.shape[1])
        return [Doubled(rows) for rows in step_conditions(self.denoiser, torch.cat([sigmas, sigmas], 1), both)]

    def _double(self, cond: CondT, batch: int) -> CondT:
        joined: CondT = cond.cat([self.uncond.expand_to(batch), cond.expand_to(batch)])
        return joined


def step_conditions(denoiser: X0Predictor[CondT], sigmas: Tensor, cond: CondT) -> Sequence[Any]:
    """What to call the denoiser with at each of its evaluations, made ahead of the loop.

    A denoiser with a method ``prepare(sigmas, cond)`` makes it itself, and so computes once what does not depend on
    the latents. Any other gets ``cond`` every time.

    Args:
        denoiser: what will be evaluated.
        sigmas: noise level of each evaluation and image, (K, B).
        cond: text condition, one row or one per image.

    Returns:
        K conditions.
    """
    prepare: Callable[[Tensor, CondT], Sequence[Any]] | None = getattr(denoiser, "prepare", None)
    return [cond] * len(sigmas) if prepare is None else prepare(sigmas, cond)


def with_guidance(
    denoiser: X0Predictor[CondT], uncond: CondT | None, guidance_scale: float
) -> X0Predictor[CondT] | Guided[CondT]:
    """The denoiser itself at a guidance scale of 1 and below (as in diffusers), guided above."""
    if guidance_scale <= 1:
        return denoiser
    if uncond is None:
        raise ValueError(f"guidance_scale {guidance_scale} needs the condition of the empty prompt, got uncond=None")
    return Guided(denoiser, uncond, guidance_scale)
