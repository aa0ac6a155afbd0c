"""What a row costs: image tokens x steps, and FLOPs of the network, counted and not timed."""

from repro.harness.experiment import Row
from repro.harness.profile import Profile
from swd.backbones.base import Denoiser
from swd.cost import schedule_cost
from swd.schedule import ScaleSchedule, preset, sigma_grid


def row_schedule(profile: Profile, row: Row, side: int) -> tuple[ScaleSchedule, int]:
    """A row's scales, and how many network evaluations each step takes (two with guidance)."""
    if (name := profile.preset(row)) is not None:
        return preset(name), 1
    sigmas = sigma_grid(profile.teacher.steps, profile.teacher.shift)
    passes = 2 if profile.teacher.guidance_scale > 1 else 1
    return ScaleSchedule((side,) * profile.teacher.steps, sigmas), passes


def tokens(profile: Profile, row: Row, denoiser: Denoiser) -> int:
    """Image tokens summed over all network evaluations of one image."""
    schedule, passes = row_schedule(profile, row, denoiser.network.config.sample_size)
    return passes * schedule.num_tokens(denoiser.patch_size)


def flops(profile: Profile, row: Row, denoiser: Denoiser, text_tokens: int) -> int:
    """FLOPs (a multiply-add counts 2) of all network evaluations of one image, text and VAE left out."""
    schedule, passes = row_schedule(profile, row, denoiser.network.config.sample_size)
    return passes * schedule_cost(denoiser, schedule, text_tokens=text_tokens).flops
