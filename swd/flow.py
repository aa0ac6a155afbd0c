"""Noise processes: what ``x_t`` is, and how a network's prediction becomes ``x0``.

Flow matching (SD3.5, FLUX):      x_t = (1 - sigma) x0 + sigma noise,       velocity = noise - x0.
Variance preserving (SDXL):       x_t = alpha x0 + sqrt(1 - alpha^2) noise, the network predicts the noise.

Every function takes ``sigma`` as a float or as a tensor (B,), and broadcasts it over the images. A float32 tensor
promotes half-precision latents to float32, which is wanted: the arithmetic around the network stays exact.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from swd.grid import Process
from swd.tensors import check_alike, check_floating, levels
from swd.values import real

NUM_TIMESTEPS = 1000


def _per_image(value: Tensor | float, like: Tensor) -> Tensor | float:
    """(B,) becomes (B, 1, ..., 1) on the device of ``like``."""
    if not isinstance(value, Tensor):
        return value
    return value.to(like.device).reshape(-1, *[1] * (like.ndim - 1))


def _checked(sigma: Tensor | float, *, above: float = -1.0, **latents: Tensor) -> Tensor | float:
    """The levels, after TypeError or ValueError for what would broadcast or be bent in silence."""
    check_alike(**latents)
    first = next(iter(latents.values()))
    if first.ndim == 0:
        raise ValueError(f"{' and '.join(latents)} must be batches, (B, C, H, W), got one number")
    return levels("sigma", sigma, len(first), above=above)


def guide(cond_x0: Tensor, uncond_x0: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance. On ``x0`` it equals guidance on the velocity or the noise, which are affine in it."""
    check_alike(cond_x0=cond_x0, uncond_x0=uncond_x0)
    guidance_scale = real("guidance_scale", guidance_scale)
    return uncond_x0 + guidance_scale * (cond_x0 - uncond_x0)


class NoiseProcess(Protocol):
    """What sampling and training need of a noise process.

    Attributes:
        name: of the process, as schedules and grids say which they belong to.
    """

    name: ClassVar[Process]

    def add_noise(self, x0: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
        """``x_t`` at noise level ``sigma``."""
        ...

    def x0_from_prediction(self, x_t: Tensor, prediction: Tensor, sigma: Tensor | float) -> Tensor:
        """Clean latent from what the network predicts at ``x_t``."""
        ...

    def lower_noise(self, x_t: Tensor, x0: Tensor, sigma: Tensor | float, lower: Tensor | float) -> Tensor:
        """``x_t`` with its own noise at the level ``lower``, as if ``x0`` were the truth: a step of the ODE."""
        ...

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is conditioned on."""
        ...

    def weigh_x0(self, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """A clean latent, or an estimate of it, as a regression over all noise levels compares the two."""
        ...


def signal_and_noise(sigma: float, process: NoiseProcess) -> tuple[float, float]:
    """Weights of the clean latent and of the noise in x_t.

    Raises:
        TypeError: no number.
        ValueError: sigma outside [0, 1].
    """
    sigma = real("sigma", sigma, least=0, most=1)
    one, zero = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    return float(process.add_noise(one, zero, sigma)), float(process.add_noise(zero, one, sigma))


@dataclass(frozen=True, slots=True)
class FlowMatching:
    """Rectified flow: straight lines from clean latents (sigma = 0) to noise (sigma = 1)."""

    name: ClassVar[Process] = "flow"

    def add_noise(self, x0: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
        """Mix: x_t = (1 - sigma) x0 + sigma noise.

        Args:
            x0: clean latents, (B, C, H, W).
            noise: standard Gaussian of the same shape.
            sigma: noise level in [0, 1], (B,) or a float.

        Raises:
            TypeError: no floating-point tensors, or no number.
            ValueError: shapes that differ, another number of levels than images, or a float outside [0, 1]. So it is
                in all methods here.
        """
        sigma = _checked(sigma, x0=x0, noise=noise)
        sigma = _per_image(sigma, x0)
        return (1 - sigma) * x0 + sigma * noise

    def x0_from_velocity(self, x_t: Tensor, velocity: Tensor, sigma: Tensor | float) -> Tensor:
        """x0 = x_t - sigma velocity."""
        sigma = _checked(sigma, x_t=x_t, velocity=velocity)
        return x_t - _per_image(sigma, x_t) * velocity

    def velocity_from_x0(self, x_t: Tensor, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """Velocity = (x_t - x0) / sigma; sigma must be positive."""
        sigma = _checked(sigma, above=0, x_t=x_t, x0=x0)
        return (x_t - x0) / _per_image(sigma, x_t)

    def lower_noise(self, x_t: Tensor, x0: Tensor, sigma: Tensor | float, lower: Tensor | float) -> Tensor:
        """Euler step of dx/dsigma = velocity from ``sigma`` down to ``lower``; sigma must be positive."""
        sigma = _checked(sigma, above=0, x_t=x_t, x0=x0)
        lower = levels("lower", lower, len(x_t))
        return x_t + _per_image(lower - sigma, x_t) * self.velocity_from_x0(x_t, x0, sigma)

    x0_from_prediction = x0_from_velocity

    def timestep(self, sigma: Tensor) -> Tensor:
        """Timestep of the network, 1000 sigma."""
        check_floating(sigma=sigma)
        return NUM_TIMESTEPS * sigma

    def weigh_x0(self, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """As it is: an error of the velocity counts sigma in it, never more than 1."""
        sigma = _checked(sigma, x0=x0)
        return x0


@lru_cache(maxsize=16)
def _log_signal_power(beta_start: float, beta_end: float, device: torch.device) -> Tensor:
    """Log of the cumulative signal power at t = 0, 1, ..., 1000; entry 0 is the clean end.

    Computed on the CPU whatever the device, so that all devices see the same numbers.
    """
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, NUM_TIMESTEPS, dtype=torch.float64, device="cpu").square()
    return torch.cat([betas.new_zeros(1), torch.log1p(-betas).cumsum(0)]).to(device)


@dataclass(frozen=True, slots=True)
class VariancePreserving:
    """Diffusion with unit variance and the "scaled linear" betas of SD and SDXL; the network predicts the noise.

    Here ``sigma`` is time, t / 1000, so that one schedule type serves both processes: level t uses entry t - 1 of
    the cumulative product of the 1000 discrete alphas, and sigma = 0 is clean.
    """

    name: ClassVar[Process] = "variance-preserving"
    beta_start: float = 0.00085
    beta_end: float = 0.012

    def coefficients(self, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        """Signal and noise weights at ``sigma``; between discrete levels the log signal power is interpolated."""
        sigma = levels("sigma", sigma)
        time = torch.as_tensor(sigma)
        table = _log_signal_power(self.beta_start, self.beta_end, time.device)
        position = time.double() * NUM_TIMESTEPS
        low = position.floor().long().clamp(0, NUM_TIMESTEPS - 1)
        log_power = torch.lerp(table[low], table[low + 1], position - low)
        weights = torch.exp(0.5 * log_power), torch.sqrt(-torch.expm1(log_power))
        return weights[0].float(), weights[1].float()

    def add_noise(self, x0: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
        """x_t = alpha x0 + sqrt(1 - alpha^2) noise."""
        sigma = _checked(sigma, x0=x0, noise=noise)
        signal, spread = (_per_image(weight, x0) for weight in self.coefficients(sigma))
        return signal * x0 + spread * noise

    def x0_from_noise(self, x_t: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
        """x0 = (x_t - sqrt(1 - alpha^2) noise) / alpha."""
        sigma = _checked(sigma, x_t=x_t, noise=noise)
        signal, spread = (_per_image(weight, x_t) for weight in self.coefficients(sigma))
        return (x_t - spread * noise) / signal

    def noise_from_x0(self, x_t: Tensor, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """Noise = (x_t - alpha x0) / sqrt(1 - alpha^2); sigma must be positive."""
        sigma = _checked(sigma, above=0, x_t=x_t, x0=x0)
        signal, spread = (_per_image(weight, x_t) for weight in self.coefficients(sigma))
        return (x_t - signal * x0) / spread

    def lower_noise(self, x_t: Tensor, x0: Tensor, sigma: Tensor | float, lower: Tensor | float) -> Tensor:
        """DDIM step without fresh noise (eta = 0) from ``sigma`` down to ``lower``; sigma must be positive."""
        noise = self.noise_from_x0(x_t, x0, sigma)
        return self.add_noise(x0, noise, levels("lower", lower, len(x_t)))

    x0_from_prediction = x0_from_noise

    def timestep(self, sigma: Tensor) -> Tensor:
        """Index of the discrete level in 0..999: t = 1000, 800, ... of schedules are 999, 799, ...

        Levels are counted from 1, so that 0 is clean; diffusers counts the 1000 noisy ones from 0.
        """
        check_floating(sigma=sigma)
        return (NUM_TIMESTEPS * sigma - 1).clamp(min=0)

    def weigh_x0(self, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """Times alpha: an error of the noise then counts sqrt(1 - alpha^2), and not 14.6 at t = 1000."""
        sigma = _checked(sigma, x0=x0)
        signal, _ = self.coefficients(sigma)
        return _per_image(signal, x0) * x0
