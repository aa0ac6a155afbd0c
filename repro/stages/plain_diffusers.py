"""diffusers' own pipeline on a schedule of ours: what it can do without us."""

from collections.abc import Callable
from functools import partial
from typing import Any

from diffusers import FlowMatchLCMScheduler, StableDiffusion3Pipeline

from swd.schedule import ScaleSchedule


def plain_call(pipeline: Any, schedule: ScaleSchedule) -> Callable[..., Any]:
    """StableDiffusion3Pipeline with FlowMatchLCMScheduler, which upscales and renoises as we do.

    Args:
        pipeline: whose networks it shares.
        schedule: scale-wise, or of one scale.

    Returns:
        Its call, which still takes prompts or their embeddings, the kind of output, and random numbers.
    """
    factors = [scale / schedule.scales[0] for scale in schedule.scales[1:]] if schedule.is_scalewise else None
    scheduler = FlowMatchLCMScheduler(shift=1.0, scale_factors=factors, upscale_mode="bicubic")
    plain = StableDiffusion3Pipeline(**{**pipeline.components, "scheduler": scheduler})
    plain.set_progress_bar_config(disable=True)
    side = schedule.scales[0] * plain.vae_scale_factor
    return partial(
        plain,
        sigmas=list(schedule.sigmas[:-1]),
        num_inference_steps=schedule.num_steps,
        guidance_scale=0.0,
        height=side,
        width=side,
    )
