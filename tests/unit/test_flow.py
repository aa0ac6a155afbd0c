import pytest
import torch

from swd.flow import FlowMatching, VariancePreserving, guide


def latents(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(batch, 4, 6, 8, generator=rng), torch.randn(batch, 4, 6, 8, generator=rng)


def test_velocity_points_from_clean_to_noise() -> None:
    x0, noise = latents()
    sigma = torch.tensor([0.1, 0.5, 0.9])
    process = FlowMatching()
    x_t = process.add_noise(x0, noise, sigma)
    torch.testing.assert_close(process.velocity_from_x0(x_t, x0, sigma), noise - x0, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(process.x0_from_velocity(x_t, noise - x0, sigma), x0)


@pytest.mark.parametrize("process", [FlowMatching(), VariancePreserving()])
def test_ends_of_the_process(process: FlowMatching | VariancePreserving) -> None:
    x0, noise = latents()
    torch.testing.assert_close(process.add_noise(x0, noise, 0.0), x0)
    nearly_noise = process.add_noise(x0, noise, 1.0)
    assert (nearly_noise - noise).abs().max() < 0.07 * x0.abs().max() + 1e-2  # SDXL keeps 7 % signal at t = 1000


def test_variance_preserving_round_trip() -> None:
    x0, noise = latents()
    sigma = torch.tensor([0.2, 0.6, 1.0])
    process = VariancePreserving()
    x_t = process.add_noise(x0, noise, sigma)
    torch.testing.assert_close(process.x0_from_noise(x_t, noise, sigma), x0, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(process.noise_from_x0(x_t, x0, sigma), noise, rtol=1e-3, atol=1e-4)
    signal, spread = process.coefficients(sigma)
    torch.testing.assert_close(signal**2 + spread**2, torch.ones(3))


def test_a_tensor_sigma_widens_half_precision_latents() -> None:
    x0, noise = (x.bfloat16() for x in latents())
    assert FlowMatching().add_noise(x0, noise, torch.full((3,), 0.5)).dtype == torch.float32


def test_float_and_tensor_sigma_agree() -> None:
    x0, noise = latents()
    process = FlowMatching()
    torch.testing.assert_close(process.add_noise(x0, noise, 0.3), process.add_noise(x0, noise, torch.full((3,), 0.3)))


def test_guidance_on_x0_is_guidance_on_velocity() -> None:
    x_t, cond = latents()
    uncond = torch.flip(cond, (0,))
    sigma = torch.tensor([0.2, 0.5, 0.8])
    process = FlowMatching()
    by_x0 = guide(process.x0_from_velocity(x_t, cond, sigma), process.x0_from_velocity(x_t, uncond, sigma), 4.5)
    by_velocity = process.x0_from_velocity(x_t, uncond + 4.5 * (cond - uncond), sigma)
    torch.testing.assert_close(by_x0, by_velocity, rtol=1e-4, atol=1e-5)
