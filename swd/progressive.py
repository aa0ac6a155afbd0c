"""Sampling of an undistilled model at growing sizes, without training: the ODE with spectral expansion.

A step of the schedule names a side and a noise level *of the full side*. At a smaller side the network works at the
level with the same ratio of noise to signal at every frequency, ``grown_sigma(sigma, s / s_N)``, so that the expansion
at a change of side (`swd.growth`, SPEED, arXiv 2605.18736) arrives exactly at the schedule's next level: levels seen
from the full side fall as the teacher's grid has them, and no step is taken twice. In flow matching that is the time
shift by the ratio of sides that models use for smaller images (Esser et al. 2024, equation 23).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from swd.flow import NoiseProcess
from swd.growth import expand_noisy, grown_sigma, side_ratio
from swd.guidance import step_conditions, with_guidance
from swd.predictor import CondT, X0Predictor
from swd.sampler import OnStep, Seed, draw_noise, seed_rngs
from swd.schedule import ScaleSchedule, check_schedule
from swd.values import several


def own_levels(
    schedule: ScaleSchedule, sizes: Sequence[tuple[int, int]], process: NoiseProcess
) -> list[tuple[float, float]]:
    """Where each step starts and ends, in noise levels of its own size.

    Pure noise is pure noise at every size: level 1 stays 1.

    Args:
        schedule: levels seen from the full side.
        sizes: of the latent of each step.
        process: what a level means.
    """
    ratios = [1 / side_ratio(size, sizes[-1]) for size in sizes]

    def own(sigma: float, ratio: float) -> float:
        return sigma if sigma in (0.0, 1.0) or ratio == 1 else grown_sigma(sigma, ratio, process)

    spans = zip(pairwise(schedule.sigmas), ratios, strict=True)
    return [(own(start, ratio), own(end, ratio)) for (start, end), ratio in spans]


@torch.no_grad()
def sample_progressive(
    denoiser: X0Predictor[CondT],
    schedule: ScaleSchedule,
    cond: CondT,
    uncond: CondT | None,
    seeds: Sequence[Seed],
    *,
    guidance_scale: float = 1.0,
    size: tuple[int, int] | None = None,
    on_step: OnStep | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Sample an undistilled model along the ODE, expanding x_t where the schedule's side grows.

    Args:
        denoiser: the teacher.
        schedule: side of every step, and its level as seen from the full side.
        cond: text condition, one row or one per image.
        uncond: condition of the empty prompt; not needed without guidance.
        seeds: one per image; image ``i`` depends on ``seeds[i]`` only.
        guidance_scale: as of `swd.sampler.sample_teacher`.
        size: height and width of the last latent; the square of the last scale by default.
        on_step: called after each evaluation with (step, x_t, x0).
        device: where to sample; by default where ``cond`` is.

    Returns:
        Clean latents of ``size``, (B, C, H, W), float32.

    Raises:
        TypeError: an argument of another type.
        ValueError: no seeds, a schedule of another process or that the patch size does not divide, or guidance
            without ``uncond``.
    """
    seeds = several("seeds", seeds)
    check_schedule(schedule)
    schedule.check_patch(denoiser.patch_size)
    schedule.check_process(denoiser.process.name)
    if not seeds:
        raise ValueError("sampling needs at least one seed, got none")
    device, process = device or cond.device, denoiser.process
    sizes = schedule.latent_sizes(size, multiple=denoiser.patch_size)
    rngs = seed_rngs(seeds)
    noises = {grown: draw_noise(rngs, (denoiser.latent_channels, *grown), device) for grown in dict.fromkeys(sizes)}
    levels = own_levels(schedule, sizes, process)
    guided = with_guidance(denoiser, uncond, guidance_scale)
    sigmas = torch.tensor([start for start, _ in levels], device=device, dtype=torch.float32)[:, None].expand(
        -1, len(seeds)
    )
    conds = step_conditions(guided, sigmas, cond)
    x_t = noises[sizes[0]]
    for step, (start, end) in enumerate(levels):
        x0 = guided(x_t, sigmas[step], conds[step])
        if on_step is not None:
            on_step(step, x_t, x0)
        x_t = process.lower_noise(x_t, x0, start, end)
        if step + 1 < len(sizes) and sizes[step + 1] != sizes[step]:
            x_t, _ = expand_noisy(x_t, noises[sizes[step + 1]], end, process)
    return x_t
