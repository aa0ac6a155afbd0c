"""Noise processes and sigma grids against diffusers' schedulers."""

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from swd.flow import FlowMatching, VariancePreserving
from swd.grid import sigma_grid


@pytest.mark.parametrize("num_steps", [1, 2, 7, 28, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
def test_grid_is_that_of_the_euler_scheduler(num_steps: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(num_steps)
    expected = scheduler.sigmas
    torch.testing.assert_close(torch.tensor(sigma_grid(num_steps, shift)), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        FlowMatching().timestep(torch.tensor(sigma_grid(num_steps, shift)[:-1])), scheduler.timesteps
    )


def test_flow_matching_noise_is_scale_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(5, 4, 6, 6, generator=rng), torch.randn(5, 4, 6, 6, generator=rng)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(28)
    indices = torch.tensor([0, 7, 14, 18, 27])
    expected = scheduler.scale_noise(x0, scheduler.timesteps[indices], noise)
    sigma = torch.tensor(sigma_grid())[indices]
    torch.testing.assert_close(FlowMatching().add_noise(x0, noise, sigma), expected, rtol=0, atol=1e-6)


def test_variance_preserving_noise_is_ddpm_with_sdxl_betas() -> None:
    rng = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(4, 4, 6, 6, generator=rng), torch.randn(4, 4, 6, 6, generator=rng)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    timesteps = torch.tensor([999, 799, 599, 399])
    process, sigma = VariancePreserving(), (timesteps + 1) / 1000
    torch.testing.assert_close(
        process.add_noise(x0, noise, sigma), scheduler.add_noise(x0, noise, timesteps), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(process.timestep(sigma), timesteps.float())
