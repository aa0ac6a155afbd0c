"""Grids of the families against the schedulers of their pipelines."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from swd.flow import VariancePreserving
from swd.grid import FLUX_SAMPLING, GRIDS, TeacherGrid, TokenShift


@pytest.mark.parametrize("num_tokens", [256, 1024, 4096, 4004])
@pytest.mark.parametrize("num_steps", [4, 28])
def test_grid_of_flux_is_that_of_its_pipeline(num_tokens: int, num_steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / num_steps, num_steps), mu=calculate_shift(num_tokens))
    levels = FLUX_SAMPLING.levels(num_tokens=num_tokens, num_steps=num_steps)
    torch.testing.assert_close(torch.tensor(levels), scheduler.sigmas, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_steps", [4, 10, 50])
def test_grid_of_sdxl_is_ddim_with_trailing_spacing(num_steps: int) -> None:
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(num_steps)
    levels = torch.tensor(GRIDS["sdxl"].levels(num_steps=num_steps)[:-1])
    torch.testing.assert_close(VariancePreserving().timestep(levels), scheduler.timesteps.float(), rtol=0, atol=1e-3)


def test_a_grid_of_no_size_names_what_it_needs() -> None:
    with pytest.raises(ValueError, match="depends on the number of image tokens: give num_tokens, or a shift"):
        FLUX_SAMPLING.levels()
    assert FLUX_SAMPLING.levels(shift=3.0)[0] == 1
    with pytest.raises(ValueError, match="a variance-preserving process has no time shift: shift must be 1"):
        TeacherGrid(process="variance-preserving", shift=TokenShift())


def test_families_lay_the_grids_of_the_schedulers_they_are_published_with() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(28)
    torch.testing.assert_close(torch.tensor(GRIDS["sd35"].levels()), scheduler.sigmas, rtol=1e-5, atol=1e-6)
