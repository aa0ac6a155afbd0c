"""Sampling: scale-wise for students, the probability-flow ODE with guidance for the teacher.

Scale-wise (v1 Algorithm 1): start from noise at the smallest scale; at every step predict ``x0``, upscale it to the
next scale, renoise it with fresh noise to the next sigma. Full-scale few-step sampling is the constant-scale case.
What noise is, and so what a step of the ODE is, says the denoiser's process.

All noise is drawn ahead, on the CPU, image by image from that image's own rng: image ``i`` depends on seed ``i``
only, and the loop itself never waits for the device.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from swd.guidance import step_conditions, with_guidance
from swd.predictor import CondT, X0Predictor
from swd.resize import upscale
from swd.schedule import ScaleSchedule, check_schedule
from swd.tensors import check_maps
from swd.values import as_whole, real, several, size_of, typed, whole

Seed = int | torch.Generator
OnStep = Callable[[int, Tensor, Tensor], None]
OnStepEnd = Callable[[int, Tensor], tuple[Tensor, bool]]


def seed_rngs(seeds: Sequence[Seed], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One rng per image. They live on the CPU unless told otherwise, so that every device draws the same noise.

    A torch.Generator among the seeds is used as it is, and advanced. torch's CPU generator keeps the lower 32 bits of
    a seed: those of larger ones are hashed, so that seeds that differ above them draw different noise.

    Raises:
        TypeError: no list, or a seed that is neither a whole number nor a generator.
        ValueError: a negative seed, or one beyond 63 bits.
    """
    seeds = several("seeds", seeds)
    return [s if isinstance(s, torch.Generator) else torch.Generator(device).manual_seed(_kept(s)) for s in seeds]


def _kept(given: int) -> int:
    """The seed, or 32 bits that follow from all of it."""
    if as_whole(given) is None:
        raise TypeError(f"seeds must be a list of whole numbers or torch generators, got {typed(given)} among them")
    seed = whole("seeds", given, 0, 2**63 - 1)
    if seed < 2**32:
        return seed
    return int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest(), "big")


def sides_of(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a latent that is given by both, or as the side of a square.

    Raises:
        TypeError: neither.
        ValueError: a side out of range.
    """
    number = as_whole(value)
    return size_of(name, value if number is None else (number, number))


def draw_noise(rngs: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device | str) -> Tensor:
    """Standard Gaussian (B, *shape), float32, row ``i`` from ``rngs[i]``."""
    noise = torch.stack([torch.randn(shape, generator=rng, device=rng.device, dtype=torch.float32) for rng in rngs])
    return noise.to(device, non_blocking=noise.device.type == "cpu")  # from a GPU nobody would wait for the copy


@torch.no_grad()
def sample(
    denoiser: X0Predictor[CondT],
    schedule: ScaleSchedule,
    cond: CondT,
    seeds: Sequence[Seed],
    *,
    size: tuple[int, int] | None = None,
    noise: Tensor | None = None,
    on_step: OnStep | None = None,
    on_step_end: OnStepEnd | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Few-step sampling along a scale schedule.

    Args:
        denoiser: the student, called at each scale of the schedule.
        schedule: scales and sigmas, one network evaluation each.
        cond: text condition, one row or one per image.
        seeds: one per image, integers or torch generators; image ``i`` depends on ``seeds[i]`` only.
        size: height and width of the last latent, exactly; earlier ones as `ScaleSchedule.latent_sizes` has them. The
            square of the last scale by default.
        noise: of the first step, (B, C, h_1, w_1), in place of what ``seeds`` give for it; the noise of later steps
            is theirs all the same.
        on_step: called after each evaluation with (step, x_t, x0).
        on_step_end: called with (step, what the next step starts from: renoised latents, after the last step x0);
            returns what to go on with, and whether to.
        device: where to sample; by default where ``cond`` is.

    Returns:
        Clean latents of ``size``, (B, C, H, W), float32; where ``on_step_end`` stops, what it returned.

    Raises:
        TypeError: an argument of another type.
        ValueError: when the patch size does not divide a scale or ``size``, the schedule belongs to another noise
            process, there are no seeds, or ``noise`` has another shape.
    """
    seeds = several("seeds", seeds)
    check_schedule(schedule)
    schedule.check_patch(denoiser.patch_size)
    schedule.check_process(denoiser.process.name)
    device = device or cond.device
    sizes = schedule.latent_sizes(size, multiple=denoiser.patch_size)
    noises = _draw_all(seeds, denoiser.latent_channels, sizes, device)
    if noise is not None:
        noises[0] = _checked(noise, noises[0])
    sigmas = torch.tensor(schedule.sigmas, device=device, dtype=torch.float32)[:, None].expand(-1, len(seeds))
    conds = step_conditions(denoiser, sigmas[:-1], cond)
    if getattr(denoiser, "wants_largest_first", False):
        denoiser(noises[-1], sigmas[0], conds[0])  # whose answer nobody needs
    x_t, go_on = noises[0], True
    for step in range(schedule.num_steps):
        x0 = denoiser(x_t, sigmas[step], conds[step])
        if on_step is not None:
            on_step(step, x_t, x0)
        x_t = x0
        if step + 1 < schedule.num_steps:
            larger = upscale(x0, sizes[step + 1], schedule.upscale)
            x_t = denoiser.process.add_noise(larger, noises[step + 1], sigmas[step + 1])
        if on_step_end is not None:
            x_t, go_on = on_step_end(step, x_t)
        if not go_on:
            break
    return x_t


def _checked(noise: Tensor, drawn: Tensor) -> Tensor:
    """Noise of the caller's as if it were drawn."""
    check_maps(noise=noise)
    if noise.shape != drawn.shape:
        raise ValueError(f"noise of the first step is {tuple(drawn.shape)}, got {tuple(noise.shape)}")
    return noise.to(drawn)


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
    side: int | tuple[int, int],
    num_steps: int | None = None,
    shift: float | None = None,
    guidance_scale: float = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Sampling of the undistilled model, step by step along its grid, as diffusers does it: Euler, or DDIM.

    Args:
        denoiser: the teacher.
        cond: text condition, one row or one per image.
        uncond: condition of the empty prompt, one row or one per image; not needed without guidance.
        seeds: one per image.
        side: latent side of a square, or height and width.
        num_steps: evaluations; with guidance each is a doubled batch. The family's own number when absent.
        shift: time shift of the sigma grid; the family's own when absent.
        guidance_scale: classifier-free guidance, none at 1 and below; of a network that takes guidance as an input,
            that number.
        device: where to sample; by default where ``cond`` is.

    Returns:
        Clean latents, (B, C, H, W), float32.

    Raises:
        TypeError: an argument of another type.
        ValueError: when guidance is asked for without ``uncond``, the patch size does not divide ``side``, or the
            process has no time shift.
    """
    size, seeds = sides_of("side", side), several("seeds", seeds)
    for length in size:
        ScaleSchedule((length,), (1.0, 0.0)).check_patch(denoiser.patch_size)
    device = device or cond.device
    (noise,) = _draw_all(seeds, denoiser.latent_channels, [size], device)
    levels = _teacher_levels(denoiser, size, num_steps, shift)
    sigmas = torch.tensor(levels, device=device, dtype=torch.float32)[:, None].expand(-1, len(seeds))
    return _integrate(with_guidance(denoiser, uncond, guidance_scale), noise, sigmas, cond)


@torch.no_grad()
def finish_teacher(
    denoiser: X0Predictor[CondT],
    x_t: Tensor,
    sigma: float,
    cond: CondT,
    uncond: CondT | None,
    *,
    num_steps: int | None = None,
    shift: float | None = None,
    guidance_scale: float = 1.0,
) -> Tensor:
    """Sampling of the undistilled model from the middle: from ``sigma`` along the lower levels of its grid.

    Args:
        denoiser: the teacher.
        x_t: noisy latents at ``sigma``, (B, C, H, W).
        sigma: noise level in (0, 1].
        cond: text condition, one row or one per image.
        uncond: condition of the empty prompt; not needed without guidance.
        num_steps: steps of the whole grid; the family's own number when absent.
        shift: time shift of the grid; the family's own when absent.
        guidance_scale: classifier-free guidance, none at 1 and below; of a network that takes guidance as an input,
            that number.

    Returns:
        Clean latents, (B, C, H, W), float32.

    Raises:
        TypeError: an argument of another type.
        ValueError: sigma outside (0, 1], or guidance without ``uncond``.
    """
    check_maps(x_t=x_t)
    if x_t.shape[1] != denoiser.latent_channels:
        raise ValueError(f"x_t must have {denoiser.latent_channels} channels, got {tuple(x_t.shape)}")
    size = (x_t.shape[-2], x_t.shape[-1])
    levels = finishing_levels(denoiser, size, sigma, num_steps=num_steps, shift=shift)
    sigmas = torch.tensor(levels, device=x_t.device, dtype=torch.float32)[:, None].expand(-1, len(x_t))
    return _integrate(with_guidance(denoiser, uncond, guidance_scale), x_t.float(), sigmas, cond)


def finishing_levels(
    denoiser: X0Predictor[CondT],
    size: tuple[int, int],
    sigma: float,
    *,
    num_steps: int | None = None,
    shift: float | None = None,
) -> tuple[float, ...]:
    """Levels that `finish_teacher` visits from ``sigma`` down to 0: one more than it evaluates.

    Raises:
        TypeError: an argument of another type.
        ValueError: sigma outside (0, 1].
    """
    sigma, size = real("sigma", sigma, above=0, least=0, most=1), size_of("size", size)
    return (sigma, *(level for level in _teacher_levels(denoiser, size, num_steps, shift) if level < sigma))


def _teacher_levels(
    denoiser: X0Predictor[CondT], size: tuple[int, int], num_steps: int | None, shift: float | None
) -> tuple[float, ...]:
    tokens = (size[0] // denoiser.patch_size) * (size[1] // denoiser.patch_size)
    return denoiser.grid.levels(num_tokens=tokens, num_steps=num_steps, shift=shift)


def _integrate(denoiser: X0Predictor[CondT], x_t: Tensor, sigmas: Tensor, cond: CondT) -> Tensor:
    """The probability-flow ODE from ``sigmas[0]`` down to ``sigmas[-1]``, falling levels (K + 1, B)."""
    conds = step_conditions(denoiser, sigmas[:-1], cond)
    for (sigma, lower), made in zip(pairwise(sigmas), conds, strict=True):
        x_t = denoiser.process.lower_noise(x_t, denoiser(x_t, sigma, made), sigma, lower)
    return x_t
