"""Growing noisy latents: white noise stays white, low frequencies are kept, levels follow the closed form."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from swd.flow import FlowMatching, NoiseProcess, VariancePreserving, signal_and_noise
from swd.grid import time_shift
from swd.growth import expand_noisy, grown_sigma, keep_low, lift_estimate, replace_low, side_ratio
from swd.resize import upscale_bicubic
from swd.spectra import radial_spectrum

SIZES = [((8, 8), (16, 16)), ((6, 10), (9, 16)), ((12, 12), (32, 32))]
Size = tuple[int, int]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def waves(size: Size, modes: tuple[tuple[int, int, float], ...]) -> torch.Tensor:
    """A sum of cosines of half-sample symmetry, sampled at pixel centres: the same function at every size."""
    y, x = ((np.arange(side) + 0.5) / side for side in size)
    field = sum(a * np.outer(np.cos(np.pi * k * y), np.cos(np.pi * m * x)) for k, m, a in modes)
    return torch.from_numpy(np.asarray(field))[None, None]


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_replacing_low_frequencies_is_scipys_zero_padding(small: Size, large: Size) -> None:
    x, noise = normal(2, 3, *small), normal(2, 3, *large, seed=1)
    spectrum = dctn(noise.numpy(), axes=(-2, -1), norm="ortho")
    spectrum[..., : small[0], : small[1]] = dctn(x.numpy(), axes=(-2, -1), norm="ortho")
    expected = torch.from_numpy(idctn(spectrum, axes=(-2, -1), norm="ortho"))
    torch.testing.assert_close(replace_low(noise, x), expected)


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_low_frequencies_that_are_kept_are_scipys_and_go_back_to_their_place(small: Size, large: Size) -> None:
    noise = normal(2, 3, *large)
    kept = keep_low(noise, small)
    spectrum = dctn(noise.numpy(), axes=(-2, -1), norm="ortho")[..., : small[0], : small[1]]
    torch.testing.assert_close(kept, torch.from_numpy(idctn(spectrum, axes=(-2, -1), norm="ortho")))
    torch.testing.assert_close(replace_low(noise, kept), noise)


def test_no_low_frequencies_of_a_larger_size() -> None:
    with pytest.raises(ValueError, match=r"low frequencies of \(8, 8\) make no latent of size \(8, 9\)"):
        keep_low(normal(1, 1, 8, 8), (8, 9))


def test_white_noise_stays_white_with_variance_one() -> None:
    grown = replace_low(normal(400, 1, 16, 16, seed=1), normal(400, 1, 8, 8))
    flat = grown.flatten(1)
    covariance = flat.T @ flat / len(flat)  # 256 x 256, each entry within 5 standard errors of the identity's
    assert (covariance - torch.eye(256)).abs().max() < 5 * math.sqrt(2 / 400)
    power = radial_spectrum(grown).mean()
    error = (2 / (400 * 256 * power.population)).sqrt()
    assert ((power.power - 1).abs() < 5 * error).all()


@pytest.mark.parametrize("process", [FlowMatching(), VariancePreserving()])
def test_pure_noise_is_expanded_to_pure_noise(process: NoiseProcess) -> None:
    x, noise = normal(2, 3, 8, 8), normal(2, 3, 16, 16, seed=1)
    grown, sigma = expand_noisy(x, noise, 1.0, process)
    assert sigma == 1.0
    torch.testing.assert_close(grown, replace_low(noise, x), rtol=5e-3, atol=5e-3)  # its last level has some signal


@pytest.mark.parametrize(("small", "large"), SIZES)
@pytest.mark.parametrize("sigma", [0.1, 0.5, 0.8])
def test_an_expanded_latent_is_the_large_signal_at_the_new_level(small: Size, large: Size, sigma: float) -> None:
    modes = ((0, 0, 0.4), (1, 3, -1.3), (4, 2, 0.7), (5, 5, 0.2))
    eps, fresh = normal(1, 1, *small), normal(1, 1, *large, seed=1)
    x_t = FlowMatching().add_noise(waves(small, modes), eps, sigma)
    grown, level = expand_noisy(x_t, fresh, sigma)
    expected = FlowMatching().add_noise(waves(large, modes), replace_low(fresh, eps), level)
    torch.testing.assert_close(grown, expected)


@pytest.mark.parametrize("sigma", [0.0, 0.03, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("ratio", [0.25, 1.0, 4 / 3, 4.0])
def test_the_level_of_flow_matching_is_the_time_shift(sigma: float, ratio: float) -> None:
    assert grown_sigma(sigma, ratio) == pytest.approx(time_shift(sigma, ratio), abs=1e-12)


@pytest.mark.parametrize("process", [FlowMatching(), VariancePreserving()])
def test_the_level_scales_noise_over_signal_and_can_be_undone(process: NoiseProcess) -> None:
    (signal, noise), grown = signal_and_noise(0.6, process), grown_sigma(0.6, 1.5, process)
    new_signal, new_noise = signal_and_noise(grown, process)
    assert new_noise / new_signal == pytest.approx(1.5 * noise / signal, rel=1e-4)
    assert grown_sigma(grown, 1 / 1.5, process) == pytest.approx(0.6, abs=1e-4)


def test_a_lift_of_the_true_latent_keeps_its_noise() -> None:
    x0, eps, fresh = normal(2, 4, 8, 8), normal(2, 4, 8, 8, seed=1), normal(2, 4, 16, 16, seed=2)
    x_t = FlowMatching().add_noise(x0, eps, 0.6)
    expected = FlowMatching().add_noise(upscale_bicubic(x0, (16, 16)), replace_low(fresh, eps), 0.6)
    torch.testing.assert_close(lift_estimate(x_t, x0, fresh, 0.6), expected)


def test_growth_is_a_function_of_each_image_alone() -> None:
    x_t, noise = normal(3, 2, 8, 8), normal(3, 2, 12, 12, seed=1)
    together, _ = expand_noisy(x_t, noise, 0.5)
    alone, _ = expand_noisy(x_t[1:2], noise[1:2], 0.5)
    torch.testing.assert_close(together[1:2], alone)


def test_the_ratio_of_oblong_latents_is_the_root_of_their_areas() -> None:
    assert side_ratio((6, 10), (12, 20)) == 2
    assert side_ratio((4, 9), (9, 16)) == 2


def test_bad_input_is_refused() -> None:
    x, noise = normal(1, 2, 8, 8), normal(1, 2, 16, 16)
    with pytest.raises(ValueError, match=r"got \(1, 2, 16, 16\) and \(1, 2, 8, 8\)"):
        replace_low(x, noise)
    with pytest.raises(ValueError, match=r"x_t and noise must have the same images"):
        expand_noisy(x, normal(2, 2, 16, 16), 0.5)
    with pytest.raises(ValueError, match="sigma must be above 0 and at most 1, got 0"):
        expand_noisy(x, noise, 0.0)
    with pytest.raises(ValueError, match=r"sigma must be above 0 and at most 1, got 1\.5"):
        lift_estimate(x, x, noise, 1.5)
    with pytest.raises(ValueError, match="ratio must be finite and positive, got 0"):
        grown_sigma(0.5, 0)
