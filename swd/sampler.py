"""Sampling: scale-wise for students, the Euler ODE with guidance for the teacher.

Scale-wise (v1 Algorithm 1): start from noise at the smallest scale; at every step predict ``x0``, upscale it to the
next scale, renoise it with fresh noise to the next sigma. Full-scale few-step sampling is the constant-scale case.

All noise is drawn ahead, on the CPU, image by image from that image's own rng: image ``i`` depends on seed ``i``
only, and the loop itself never waits for the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from swd.flow import FlowMatching, NoiseProcess, guide
from swd.resize import upscale_bicubic
from swd.schedule import GRID_STEPS, SHIFT, ScaleSchedule, latent_size, sigma_grid

Seed = int | torch.Generator
OnStep = Callable[[int, Tensor, Tensor], None]


class Condition(Protocol):
    """What the sampler needs of a text condition: rows that can be expanded to a batch and joined."""

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        ...

    def expand_to(self, batch: int) -> Self:
        """One row for the whole batch."""
        ...

    @staticmethod
    def cat(parts: Sequence[Any]) -> Any:
        """Rows of all parts."""
        ...


CondT = TypeVar("CondT", bound=Condition)
CondT_contra = TypeVar("CondT_contra", bound=Condition, contravariant=True)


class X0Predictor(Protocol[CondT_contra]):
    """What the sampler needs of a denoiser: its prediction has become ``x0``, once, at the model's boundary."""

    @property
    def latent_channels(self) -> int:
        """C of the latents."""
        ...

    @property
    def patch_size(self) -> int:
        """Latent sides are its multiples."""
        ...

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: CondT_contra) -> Tensor:
        """Clean estimate (B, C, H, W) from ``x_t`` (B, C, H, W) at noise levels ``sigma`` (B,)."""
        ...


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


def seed_rngs(seeds: Sequence[Seed], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One rng per image. They live on the CPU unless told otherwise, so that every device draws the same noise.

    A torch.Generator among the seeds is used as it is, and advanced.
    """
    return [s if isinstance(s, torch.Generator) else torch.Generator(device).manual_seed(s) for s in seeds]


def draw_noise(rngs: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device | str) -> Tensor:
    """Standard Gaussian (B, *shape), float32, row ``i`` from ``rngs[i]``."""
    noise = torch.stack([torch.randn(shape, generator=rng, device=rng.device) for rng in rngs])
    return noise.to(device, non_blocking=noise.device.type == "cpu")  # from a GPU nobody would wait for the copy


@torch.no_grad()
def sample(
    denoiser: X0Predictor[CondT],
    schedule: ScaleSchedule,
    cond: CondT,
    seeds: Sequence[Seed],
    *,
    on_step: OnStep | None = None,
    aspect: float = 1.0,
    process: NoiseProcess | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Few-step sampling along a scale schedule.

    Args:
        denoiser: the student, called at each scale of the schedule.
        schedule: scales and sigmas, one network evaluation each.
        cond: text condition, one row or one per image.
        seeds: one per image, integers or torch generators; image ``i`` depends on ``seeds[i]`` only.
        on_step: called after each evaluation with (step, x_t, x0).
        aspect: width / height; a scale is the side of the square of the same area.
        process: noise process, flow matching by default.
        device: where to sample; by default where ``cond`` is.

    Returns:
        Clean latents at the last scale, (B, C, H, W), float32.

    Raises:
        ValueError: when the patch size does not divide a scale, or there are no seeds.
    """
    schedule.check_patch(denoiser.patch_size)
    process = process or FlowMatching()
    device = device or cond.device
    sizes = [latent_size(scale, aspect=aspect, multiple=denoiser.patch_size) for scale in schedule.scales]
    noises = _draw_all(seeds, denoiser.latent_channels, sizes, device)
    sigmas = torch.tensor(schedule.sigmas, device=device)[:, None].expand(-1, len(seeds))
    conds = step_conditions(denoiser, sigmas[:-1], cond)
    x_t = noises[0]
    for step in range(schedule.num_steps):
        x0 = denoiser(x_t, sigmas[step], conds[step])
        if on_step is not None:
            on_step(step, x_t, x0)
        if step + 1 < schedule.num_steps:
            x_t = process.add_noise(upscale_bicubic(x0, sizes[step + 1]), noises[step + 1], sigmas[step + 1])
    return x0


def _draw_all(
    seeds: Sequence[Seed], channels: int, sizes: Sequence[tuple[int, int]], device: torch.device | str
) -> list[Tensor]:
    """Noise of every step, (B, C, h, w) each, drawn before the loop."""
    if not seeds:
        raise ValueError("sampling needs at least one seed, got none")
    rngs = seed_rngs(seeds)
    return [draw_noise(rngs, (channels, *size), device) for size in sizes]


@torch.no_grad()
def sample_teacher(
    denoiser: X0Predictor[CondT],
    cond: CondT,
    uncond: CondT | None,
    seeds: Sequence[Seed],
    *,
    side: int,
    num_steps: int = GRID_STEPS,
    shift: float = SHIFT,
    guidance_scale: float = 1.0,
    aspect: float = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Euler sampling of the undistilled model, as StableDiffusion3Pipeline does it.

    Args:
        denoiser: the teacher.
        cond: text condition, one row or one per image.
        uncond: condition of the empty prompt, one row or one per image; not needed without guidance.
        seeds: one per image.
        side: latent side of the square of the same area.
        num_steps: evaluations; with guidance each is a doubled batch.
        shift: time shift of the sigma grid.
        guidance_scale: classifier-free guidance, none at 1 and below.
        aspect: width / height.
        device: where to sample; by default where ``cond`` is.

    Returns:
        Clean latents, (B, C, H, W), float32.

    Raises:
        ValueError: when guidance is asked for without ``uncond``, or the patch size does not divide ``side``.
    """
    ScaleSchedule((side,), (1.0, 0.0)).check_patch(denoiser.patch_size)
    device = device or cond.device
    size = latent_size(side, aspect=aspect, multiple=denoiser.patch_size)
    (noise,) = _draw_all(seeds, denoiser.latent_channels, [size], device)
    sigmas = torch.tensor(sigma_grid(num_steps, shift), device=device)[:, None].expand(-1, len(seeds))
    return _euler_guided(with_guidance(denoiser, uncond, guidance_scale), noise, sigmas, cond)


@torch.no_grad()
def finish_teacher(
    denoiser: X0Predictor[CondT],
    x_t: Tensor,
    sigma: float,
    cond: CondT,
    uncond: CondT | None,
    *,
    num_steps: int = GRID_STEPS,
    shift: float = SHIFT,
    guidance_scale: float = 1.0,
) -> Tensor:
    """Euler sampling of the undistilled model from the middle: from ``sigma`` along the lower levels of its grid.

    Args:
        denoiser: the teacher.
        x_t: noisy latents at ``sigma``, (B, C, H, W).
        sigma: noise level in (0, 1].
        cond: text condition, one row or one per image.
        uncond: condition of the empty prompt; not needed without guidance.
        num_steps: steps of the whole grid.
        shift: time shift of the grid.
        guidance_scale: classifier-free guidance, none at 1 and below.

    Returns:
        Clean latents, (B, C, H, W), float32.

    Raises:
        ValueError: sigma outside (0, 1], or guidance without ``uncond``.
    """
    if not 0 < sigma <= 1:
        raise ValueError(f"sigma lies in (0, 1], got {sigma}")
    levels = (sigma, *(level for level in sigma_grid(num_steps, shift) if level < sigma))
    sigmas = torch.tensor(levels, device=x_t.device)[:, None].expand(-1, len(x_t))
    return _euler_guided(with_guidance(denoiser, uncond, guidance_scale), x_t.float(), sigmas, cond)


def _euler_guided(denoiser: X0Predictor[CondT], x_t: Tensor, sigmas: Tensor, cond: CondT) -> Tensor:
    """`euler` with the condition of every evaluation made ahead."""
    conds = iter(step_conditions(denoiser, sigmas[:-1], cond))
    return euler(lambda x, sigma: denoiser(x, sigma, next(conds)), x_t, sigmas)


def with_guidance(
    denoiser: X0Predictor[CondT], uncond: CondT | None, guidance_scale: float
) -> X0Predictor[CondT] | Guided[CondT]:
    """The denoiser itself at a guidance scale of 1 and below (as in diffusers), guided above."""
    if guidance_scale <= 1:
        return denoiser
    if uncond is None:
        raise ValueError(f"guidance_scale {guidance_scale} needs the condition of the empty prompt, got uncond=None")
    return Guided(denoiser, uncond, guidance_scale)


def euler(denoise: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, sigmas: Tensor) -> Tensor:
    """Integrate dx/dsigma = (x - x0) / sigma from ``sigmas[0]`` down to ``sigmas[-1]``.

    Args:
        denoise: clean estimate from (x_t, sigma (B,)).
        x_t: state at the first level, (B, C, H, W).
        sigmas: falling levels, (K + 1, B).
    """
    process = FlowMatching()
    for sigma, lower in pairwise(sigmas):
        velocity = process.velocity_from_x0(x_t, denoise(x_t, sigma), sigma)
        x_t = x_t + (lower - sigma)[:, None, None, None] * velocity
    return x_t
