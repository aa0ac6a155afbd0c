"""Guidance around any denoiser, with conditions made ahead of the loop.

Classifier-free guidance evaluates each image with and without text, one doubled batch (`Guided`). A network distilled
from a guided one takes the scale as a number beside the text (`EmbeddedGuidance`), and nothing is doubled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor

from swd.flow import NoiseProcess, guide
from swd.grid import TeacherGrid
from swd.predictor import CondT, X0Predictor
from swd.values import real


@dataclass(frozen=True, slots=True)
class Ready(Generic[CondT]):
    """Condition of one guided evaluation, made ahead of the loop.

    Attributes:
        rows: what the denoiser itself is called with; of a doubled batch, unconditional rows, then conditional ones.
    """

    rows: CondT


@dataclass(frozen=True, slots=True)
class _Around(Generic[CondT]):
    """A denoiser around another one: all but its answers are the other's."""

    denoiser: X0Predictor[CondT]

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

    @property
    def wants_largest_first(self) -> bool:
        """Whether the next evaluation should be one of the largest size, see `step_conditions`."""
        return getattr(self.denoiser, "wants_largest_first", False)


@dataclass(frozen=True, slots=True)
class Guided(_Around[CondT]):
    """A denoiser with classifier-free guidance, one doubled batch per evaluation.

    Attributes:
        denoiser: evaluated on (unconditional, conditional) rows.
        uncond: condition of the empty prompt, one row or one per image.
        guidance_scale: 1 is no guidance.
    """

    uncond: CondT
    guidance_scale: float

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: CondT | Ready[CondT]) -> Tensor:
        """Guided clean estimate (B, C, H, W)."""
        both = cond.rows if isinstance(cond, Ready) else self._double(cond, len(x_t))
        uncond_x0, cond_x0 = self.denoiser(torch.cat([x_t, x_t]), torch.cat([sigma, sigma]), both).chunk(2)
        return guide(cond_x0, uncond_x0, self.guidance_scale)

    def prepare(self, sigmas: Tensor, cond: CondT) -> list[Ready[CondT]]:
        """One doubled condition per evaluation at ``sigmas`` (K, B)."""
        both = self._double(cond, sigmas.shape[1])
        return [Ready(rows) for rows in step_conditions(self.denoiser, torch.cat([sigmas, sigmas], 1), both)]

    def _double(self, cond: CondT, batch: int) -> CondT:
        joined: CondT = cond.cat([self.uncond.expand_to(batch), cond.expand_to(batch)])
        return joined


@dataclass(frozen=True, slots=True)
class EmbeddedGuidance(_Around[CondT]):
    """A denoiser that takes guidance as an input, under a scale of choice.

    Attributes:
        denoiser: evaluated once on each image.
        guidance_scale: takes the place of the scale that conditions come with.
    """

    guidance_scale: float

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: CondT | Ready[CondT]) -> Tensor:
        """Clean estimate (B, C, H, W) under the scale."""
        return self.denoiser(x_t, sigma, cond.rows if isinstance(cond, Ready) else self._scaled(cond))

    def prepare(self, sigmas: Tensor, cond: CondT) -> list[Ready[CondT]]:
        """One condition per evaluation at ``sigmas`` (K, B)."""
        return [Ready(rows) for rows in step_conditions(self.denoiser, sigmas, self._scaled(cond))]

    def _scaled(self, cond: Any) -> CondT:
        scaled: CondT = cond.with_guidance(self.guidance_scale)
        return scaled


def step_conditions(denoiser: X0Predictor[CondT], sigmas: Tensor, cond: CondT) -> Sequence[Any]:
    """What to call the denoiser with at each of its evaluations, made ahead of the loop.

    A denoiser with a method ``prepare(sigmas, cond)`` makes it itself, and so computes once what does not depend on
    the latents. Any other gets ``cond`` every time. Afterwards a denoiser whose ``wants_largest_first`` is true is to
    be evaluated on the largest size before all others: what it compiles is tuned on that one.

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
) -> X0Predictor[CondT] | Guided[CondT] | EmbeddedGuidance[CondT]:
    """A denoiser under guidance, in the way of its family.

    Args:
        denoiser: whose network takes guidance as an input where it says so (``embeds_guidance``).
        uncond: condition of the empty prompt, which classifier-free guidance needs.
        guidance_scale: without guidance as an input, the denoiser itself at 1 and below, as in diffusers.

    Raises:
        TypeError: a scale that is no number.
        ValueError: a scale that is not finite, or classifier-free guidance without ``uncond``.
    """
    guidance_scale = real("guidance_scale", guidance_scale)
    if getattr(denoiser, "embeds_guidance", False):
        return EmbeddedGuidance(denoiser, guidance_scale)
    if guidance_scale <= 1:
        return denoiser
    if uncond is None:
        raise ValueError(f"guidance_scale {guidance_scale} needs the condition of the empty prompt, got uncond=None")
    return Guided(denoiser, uncond, guidance_scale)
