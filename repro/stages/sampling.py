"""Carries out a sampling plan."""

from collections.abc import Sequence

from torch import Tensor

from repro.harness.sampling import SamplingPlan
from swd.progressive import sample_progressive
from swd.sampler import CondT, OnStep, Seed, X0Predictor, sample, sample_teacher, with_guidance


def draw(
    plan: SamplingPlan,
    denoiser: X0Predictor[CondT],
    cond: CondT,
    uncond: CondT | None,
    seeds: Sequence[Seed],
    *,
    side: int,
    on_step: OnStep | None = None,
) -> Tensor:
    """Clean latents (B, C, H, W).

    Args:
        plan: along a schedule, or on the teacher's grid.
        denoiser: student or teacher.
        cond: of the captions, one row or one per image.
        uncond: of the empty prompt; only a guided plan needs it.
        seeds: one per image.
        side: the network's own latent side, where the teacher's grid stays unless the plan has another.
        on_step: called after each step of a schedule with (step, x_t, x0).
    """
    if plan.schedule is not None and plan.grow == "spectral":
        return sample_progressive(
            denoiser, plan.schedule, cond, uncond, seeds, guidance_scale=plan.guidance_scale, on_step=on_step
        )
    if plan.schedule is not None:
        guided = with_guidance(denoiser, uncond, plan.guidance_scale)
        return sample(guided, plan.schedule, cond, seeds, on_step=on_step)
    return sample_teacher(
        denoiser,
        cond,
        uncond,
        seeds,
        side=plan.side or side,
        num_steps=plan.steps,
        shift=plan.shift,
        guidance_scale=plan.guidance_scale,
    )
