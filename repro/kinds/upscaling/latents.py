"""The noisy latents of Table 1: where on the way from a small clean latent to a large noisy one the size grows."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from repro.kinds.upscaling.declare import Cell
from swd.flow import FlowMatching, NoiseProcess
from swd.growth import expand_noisy, grown_sigma, keep_low, lift_estimate
from swd.resize import downscale_area, upscale
from swd.sampler import draw_noise, seed_rngs

FLOW = FlowMatching()
GROWN = ("D", "E")
"""Orders whose small noise is the low frequencies of the full side's, which A and B have."""


def noisy_latents(
    cell: Cell,
    images: Tensor,
    encode: Callable[[Tensor], Tensor],
    *,
    factor: int,
    sigma: float,
    seeds: Sequence[int],
    process: NoiseProcess = FLOW,
    estimate: Callable[[Tensor, float], Tensor] | None = None,
) -> Tensor:
    """x_t at the full side, built in the order of the row (v1, Table 1; D and E as in ``swd.growth``).

    Args:
        cell: order, start side in latents of this model, and mode.
        images: real ones, (B, 3, H, W) in [-1, 1].
        encode: images to latents.
        factor: image side by latent side.
        sigma: noise level.
        seeds: of the noise, one per image.
        process: what noise is.
        estimate: the teacher's x0 of a small x_t at a noise level; for E alone.

    Raises:
        ValueError: E without ``estimate``.
    """
    full = (images.shape[-2] // factor, images.shape[-1] // factor)
    latents = encode(downscale_area(images, (factor * cell.side, factor * cell.side)))
    if cell.order == "B":
        latents = upscale(latents, full, cell.mode)
    rngs = seed_rngs(seeds)
    draw = partial(draw_noise, rngs, device=latents.device)
    if cell.order not in GROWN:
        x_t = process.add_noise(latents, draw(tuple(latents.shape[1:])), sigma)
        return upscale(x_t, full, cell.mode) if cell.order == "C" else x_t
    noise = draw((latents.shape[1], *full))
    small = keep_low(noise, (latents.shape[-2], latents.shape[-1]))
    if cell.order == "D":
        lower = grown_sigma(sigma, cell.side / full[0], process)  # from there growth arrives at sigma
        return expand_noisy(process.add_noise(latents, small, lower), noise, lower, process)[0]
    if estimate is None:
        raise ValueError("order E lifts the teacher's estimate, got none")
    x_t = process.add_noise(latents, small, sigma)
    return lift_estimate(x_t, estimate(x_t, sigma), noise, sigma, mode=cell.mode, process=process)
