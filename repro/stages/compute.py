"""What a row costs: image tokens x steps, and FLOPs of the network, counted and not timed."""

from repro.harness.sampling import SamplingPlan
from swd.backbones.base import Denoiser
from swd.cost import schedule_cost


def tokens(plan: SamplingPlan, denoiser: Denoiser) -> int:
    """Image tokens summed over all network evaluations of one image."""
    return plan.passes * plan.ladder(denoiser.network.config.sample_size).num_tokens(denoiser.patch_size)


def flops(plan: SamplingPlan, denoiser: Denoiser, text_tokens: int) -> int:
    """FLOPs (a multiply-add counts 2) of all network evaluations of one image, text and VAE left out."""
    ladder = plan.ladder(denoiser.network.config.sample_size)
    return plan.passes * schedule_cost(denoiser, ladder, text_tokens=text_tokens).flops
