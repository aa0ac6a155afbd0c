"""Gaussian data, for which every student and teacher is known in closed form."""

import torch
import torch.nn.functional as F
from torch import Tensor

from swd.backbones.sd3.condition import TextCondition
from swd.flow import FlowMatching
from swd.grid import TeacherGrid
from swd.sampler import sample, sample_teacher
from swd.schedule import ScaleSchedule, preset

COND = TextCondition(torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))


def matrix_power(matrix: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(1e-12) ** power) @ vectors.T


def random_gaussian(dim: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    factor = torch.randn(dim, dim, generator=rng, dtype=torch.float64) / dim**0.5
    return torch.randn(dim, generator=rng, dtype=torch.float64), factor @ factor.T + 0.1 * torch.eye(dim)


def bicubic_matrix(low: int, high: int) -> Tensor:
    """The upscaling as a matrix (high^2, low^2), column by column from the images of unit vectors."""
    basis = torch.eye(low * low, dtype=torch.float64).reshape(low * low, 1, low, low)
    return F.interpolate(basis, size=(high, high), mode="bicubic", align_corners=False).flatten(1).T


class ExactStudent:
    """The student that distillation aims for: carries its input distribution exactly onto the data at its scale.

    Step 0 sees noise, N(0, I). Step i sees the data of step i - 1, upscaled and renoised: also Gaussian. Between two
    Gaussians the map is x0 = mean + C^(1/2) C_in^(-1/2) (x_t - mean_in). It is exact only if the sampler upscales
    and renoises just as assumed here; any slip shows in the moments.
    """

    latent_channels, patch_size, process, grid = 1, 1, FlowMatching(), TeacherGrid()

    def __init__(self, schedule: ScaleSchedule, data: list[tuple[Tensor, Tensor]]) -> None:
        self.data, self.inputs = data, []
        for step, (scale, sigma) in enumerate(zip(schedule.scales, schedule.sigmas, strict=False)):
            eye = torch.eye(scale**2, dtype=torch.float64)
            if step == 0:
                self.inputs.append((torch.zeros(scale**2, dtype=torch.float64), eye))
                continue
            up = bicubic_matrix(schedule.scales[step - 1], scale)
            mean, cov = data[step - 1]
            self.inputs.append(((1 - sigma) * up @ mean, (1 - sigma) ** 2 * up @ cov @ up.T + sigma**2 * eye))
        self.step = 0

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: object) -> Tensor:
        (mean, cov), (mean_in, cov_in) = self.data[self.step], self.inputs[self.step]
        self.step += 1
        centred = x_t.double().flatten(1) - mean_in
        x0 = mean + centred @ (matrix_power(cov, 0.5) @ matrix_power(cov_in, -0.5)).T
        return x0.reshape(x_t.shape)


def test_scalewise_sampler_recovers_mean_and_covariance() -> None:
    schedule = ScaleSchedule((2, 3, 4), (1.0, 0.8, 0.4, 0.0))
    data = [random_gaussian(scale**2, seed=scale) for scale in schedule.scales]
    count = 20_000
    rng = torch.Generator().manual_seed(0)
    x0 = sample(ExactStudent(schedule, data), schedule, COND, [rng] * count)
    assert_moments(x0, *data[-1])


def assert_moments(x0: Tensor, mean: Tensor, cov: Tensor) -> None:
    """Every entry of mean and covariance within five standard errors."""
    x0 = x0.flatten(1)
    spread, root = cov.diagonal().sqrt(), len(x0) ** 0.5
    assert ((x0.mean(0) - mean).abs() < 5 * spread / root).all()
    error_of_cov = ((spread[:, None] * spread) ** 2 + cov**2).sqrt() / root
    assert ((torch.cov(x0.T) - cov).abs() < 5 * error_of_cov).all()


class ExactTeacher:
    """E[x0 | x_t] for x0 ~ N(mean, variance) independently in every entry."""

    latent_channels, patch_size, process, grid = 1, 2, FlowMatching(), TeacherGrid()
    mean, variance = 0.7, 0.3

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: object) -> Tensor:
        s = sigma[:, None, None, None]
        gain = (1 - s) * self.variance / ((1 - s) ** 2 * self.variance + s**2)
        return self.mean + gain * (x_t - (1 - s) * self.mean)


def test_teacher_sampler_converges_to_the_exact_flow() -> None:
    """The exact ODE carries noise z to mean + sqrt(variance) z; Euler's error halves when steps double."""
    seeds = [0, 1]
    noise = torch.stack([torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    exact = ExactTeacher.mean + ExactTeacher.variance**0.5 * noise

    def error(num_steps: int) -> float:
        x0 = sample_teacher(ExactTeacher(), COND, None, seeds, side=8, num_steps=num_steps)
        return (x0 - exact).abs().max().item()

    coarse, fine = error(100), error(200)
    assert fine < 0.03
    assert 1.7 < coarse / fine < 2.4


def test_full_scale_sampling_is_the_constant_case() -> None:
    schedule = preset("mini-full-2")
    schedule = ScaleSchedule((3, 3), schedule.sigmas)
    data = [random_gaussian(9, seed=1)] * 2
    rng = torch.Generator().manual_seed(0)
    assert_moments(sample(ExactStudent(schedule, data), schedule, COND, [rng] * 20_000), *data[-1])
