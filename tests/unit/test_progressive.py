"""Training-free sampling at growing sizes: exact where the growth can be, and what it asks the network."""

import pytest
import torch

from repro.harness.files import ROOT
from repro.harness.plan import resolve
from repro.kinds.scores.counts import Skeleton, network_cost
from repro.profiles.mini import PROFILE
from repro.table2_extended import EXTENDED
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.cost import forward_cost
from swd.flow import FlowMatching, NoiseProcess, VariancePreserving, signal_and_noise
from swd.grid import TeacherGrid, sigma_grid, time_shift
from swd.growth import grown_sigma, replace_low
from swd.progressive import own_levels, sample_progressive
from swd.sampler import draw_noise, finish_teacher, sample_teacher, seed_rngs
from swd.schedule import ScaleSchedule

COND = TextCondition(torch.zeros(1, 5, 32), torch.zeros(1, 16))
GROWING = ScaleSchedule((4, 4, 8, 8, 8), (1.0, 0.8, 0.6, 0.5, 0.2, 0.0))


class Gaussian:
    """The exact denoiser of Gaussian latents whose DCT coefficients are independent, of known variance.

    Coefficient (k, m) of a latent of side s has variance (s / 8)^2 / (1 + k + m)^2 below side 4, and none above.
    """

    latent_channels, patch_size, process, grid = 3, 2, FlowMatching(), TeacherGrid(num_steps=5)

    def __init__(self) -> None:
        self.calls: list[tuple[int, float]] = []

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: object) -> torch.Tensor:
        side, level = x_t.shape[-1], float(sigma[0])
        self.calls.append((side, level))
        frequency = torch.arange(4)
        variance = (side / 8) ** 2 / (1 + frequency[:, None] + frequency[None]) ** 2
        basis = cosines(side)[:4]
        gain = (1 - level) * variance / ((1 - level) ** 2 * variance + level**2)
        return basis.T @ (gain * (basis @ x_t @ basis.T)) @ basis


def cosines(side: int) -> torch.Tensor:
    n, k = torch.arange(side) + 0.5, torch.arange(side)[:, None]
    matrix = (2 / side) ** 0.5 * torch.cos(torch.pi * k * n / side)
    matrix[0] /= 2**0.5
    return matrix


def test_growth_loses_nothing_of_what_the_small_side_holds() -> None:
    """With no power above the small side, the grown sample is the full-side one from the same low noise."""
    found = sample_progressive(Gaussian(), GROWING, COND, None, [3, 4])
    rngs = seed_rngs([3, 4])
    small, large = (draw_noise(rngs, (3, side, side), "cpu") for side in (4, 8))
    x_t, denoiser = replace_low(large, small), Gaussian()
    for sigma, lower in zip(GROWING.sigmas, GROWING.sigmas[1:], strict=False):
        x0 = denoiser(x_t, torch.tensor([sigma]), COND)
        x_t = FlowMatching().lower_noise(x_t, x0, sigma, lower)
    torch.testing.assert_close(found, x_t, rtol=1e-4, atol=1e-5)


def test_a_schedule_at_one_side_is_the_teachers_own_sampling() -> None:
    levels = sigma_grid(5)
    found = sample_progressive(Gaussian(), ScaleSchedule((8,) * 5, levels), COND, None, [7, 8])
    torch.testing.assert_close(found, sample_teacher(Gaussian(), COND, None, [7, 8], side=8, num_steps=5))


def test_the_network_is_asked_at_the_shifted_levels_of_a_smaller_side() -> None:
    denoiser = Gaussian()
    sample_progressive(denoiser, GROWING, COND, None, [0])
    sides, levels = zip(*denoiser.calls, strict=True)
    assert sides == GROWING.scales
    assert levels == pytest.approx((1.0, time_shift(0.8, 0.5), 0.6, 0.5, 0.2))


@pytest.mark.parametrize("process", [FlowMatching(), VariancePreserving()])
def test_growth_arrives_at_the_next_level_of_the_schedule(process: NoiseProcess) -> None:
    levels = own_levels(GROWING, GROWING.latent_sizes(), process)
    assert levels[0][0] == 1.0
    assert levels[0][1] == levels[1][0]
    assert levels[2:] == [(0.6, 0.5), (0.5, 0.2), (0.2, 0.0)]
    assert grown_sigma(levels[1][1], 2.0, process) == pytest.approx(0.6, abs=1e-4)
    signal, noise = signal_and_noise(levels[1][1], process)
    full_signal, full_noise = signal_and_noise(0.6, process)
    assert full_noise / full_signal == pytest.approx(2 * noise / signal, rel=1e-3)


def test_an_image_depends_on_its_seed_alone(tiny_denoiser: SD3Denoiser) -> None:
    together = sample_progressive(tiny_denoiser, GROWING, COND, COND, range(4), guidance_scale=3.0)
    alone = sample_progressive(tiny_denoiser, GROWING, COND, COND, [2], guidance_scale=3.0)
    assert together.shape == (4, tiny_denoiser.latent_channels, 8, 8)
    torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=1e-5)


def test_the_end_of_a_growing_schedule_is_the_teachers_finish(tiny_denoiser: SD3Denoiser) -> None:
    seen: list[torch.Tensor] = []
    found = sample_progressive(
        tiny_denoiser, GROWING, COND, COND, [2], guidance_scale=3.0, on_step=lambda step, x_t, x0: seen.append(x_t)
    )
    x_t = seen[4]
    finished = finish_teacher(tiny_denoiser, x_t, 0.2, COND, COND, num_steps=1, guidance_scale=3.0)
    torch.testing.assert_close(found, finished)
    assert [x.shape[-1] for x in seen] == list(GROWING.scales)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        sample_progressive(Gaussian(), GROWING, COND, None, [])
    with pytest.raises(ValueError, match="multiples of the patch size 2"):
        sample_progressive(Gaussian(), ScaleSchedule((3, 8), (1.0, 0.5, 0.0)), COND, None, [0])
    with pytest.raises(ValueError, match="variance-preserving process"):
        sample_progressive(Gaussian(), ScaleSchedule((8,), (1.0, 0.0), "variance-preserving"), COND, None, [0])


def test_a_grown_teacher_is_counted_step_by_step_and_twice_for_guidance() -> None:
    skeleton = Skeleton.of_folder(ROOT / PROFILE.weights.pipeline)
    cost = network_cost(resolve(PROFILE, EXTENDED.row("teacher_grow_2")).sample, skeleton)
    small, large = (
        forward_cost(skeleton.denoiser, (side, side), batch=1, text_tokens=skeleton.text_tokens).flops
        for side in (16, 32)
    )
    assert cost.tokens == 2 * (16 * 8**2 + 12 * 16**2)
    assert cost.network_flops == 2 * (16 * small + 12 * large)
    fewer = network_cost(resolve(PROFILE, EXTENDED.row("teacher_16")).sample, skeleton)
    assert cost.tokens == fewer.tokens
