"""Spectra: closed-form cases, Parseval, the analytic spectrum of x_t, and schedules that follow from a spectrum."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swd.flow import FlowMatching, NoiseProcess, VariancePreserving
from swd.resize import downscale_area
from swd.schedule import PRESETS, preset
from swd.spectra import (
    Spectrum,
    fit_power_law,
    least_octave_fall,
    noisy_spectrum,
    radial_spectrum,
    safe_side,
    safe_sigma,
    schedule_from_spectrum,
)
from swd.spectral_budget import fill_budget

SIDES = st.integers(2, 40)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def power_law_field(exponent: float, batch: int, side: int) -> torch.Tensor:
    """Gaussian fields whose power at frequency f is f^-exponent; their mean is 0."""
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None])
    shape = torch.where(frequency > 0, frequency ** (-exponent / 2), 0.0)
    return torch.fft.irfft2(torch.fft.rfft2(noise(batch, 1, side, side)) * shape, s=(side, side))


def power_law(exponent: float = 2.0, side: int = 64, amplitude: float = 0.01) -> Spectrum:
    """An exact power law on the rings of a square latent."""
    spectrum = radial_spectrum(noise(1, 1, side, side)).mean()
    power = amplitude * spectrum.frequency.clamp(min=1 / side) ** -exponent
    return Spectrum(power, spectrum.frequency, spectrum.population, spectrum.size)


@given(height=SIDES, width=SIDES, channels=st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_parseval_holds_at_every_size(height: int, width: int, channels: int) -> None:
    x = 3 * noise(2, channels, height, width) + 1
    spectrum = radial_spectrum(x)
    torch.testing.assert_close(spectrum.population.sum(), torch.tensor(1.0))
    power = (spectrum.power * spectrum.population).sum(-1)
    torch.testing.assert_close(power, x.square().mean((2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (33, 64)])
def test_white_noise_is_flat_at_its_variance(size: tuple[int, int]) -> None:
    power = radial_spectrum(2 * noise(64, 4, *size)).power
    mean, error = power.mean((0, 1)), power.std((0, 1)) / math.sqrt(64 * 4)
    assert ((mean - 4).abs() < 4.5 * error).all()


def test_a_plane_wave_lies_in_one_ring() -> None:
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    wave = torch.cos(2 * torch.pi * (3 * x + 4 * y) / 32)[None, None]
    spectrum = radial_spectrum(wave)
    share = spectrum.power[0, 0] * spectrum.population
    assert share[5] == pytest.approx(0.5, rel=1e-5)
    assert share.sum() - share[5] < 1e-6
    assert spectrum.frequency[5] == pytest.approx(5 / 32)
    assert spectrum.sides[5] == 10


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    fit = fit_power_law(radial_spectrum(power_law_field(exponent, batch=64, side=128)).mean())
    assert fit.exponent == pytest.approx(exponent, abs=0.05)
    assert fit.low < fit.exponent < fit.high
    assert fit.fit > 0.99


def test_the_fit_of_a_law_is_the_share_that_it_explains() -> None:
    assert fit_power_law(power_law(1.5)).fit == pytest.approx(1.0)
    white = radial_spectrum(noise(256, 1, 64, 64)).mean()
    assert fit_power_law(white).fit < 0.5
    bent = power_law(2.0)
    bent = replace(bent, power=torch.where(bent.frequency > 0.25, bent.power[16], bent.power))  # falls, then stays
    assert 0.3 < fit_power_law(bent).fit < 0.9


def test_the_least_fall_of_an_octave_is_a_ratio_of_powers() -> None:
    white = radial_spectrum(noise(256, 1, 64, 64)).mean()
    assert -1 < least_octave_fall(white) < 0.2  # the lowest octave has few frequencies
    octave = torch.ceil(torch.log2(white.frequency.clamp(min=1 / 64) * 64))
    stepped = replace(white, power=10.0**-octave)  # ten times less in each
    assert least_octave_fall(stepped) == pytest.approx(10)
    assert least_octave_fall(replace(stepped, power=1 / stepped.power)) == pytest.approx(-10)
    louder = torch.where(octave == 5, 10 * stepped.power, stepped.power)  # the topmost as loud as the one below
    assert least_octave_fall(replace(stepped, power=louder)) == pytest.approx(0, abs=1e-4)
    loud_below = torch.where(white.frequency < 0.05, 100.0, 1.0) + (white.frequency > 0.25) * 4
    assert least_octave_fall(replace(white, power=loud_below)) < -6  # whatever the lowest rings have


@pytest.mark.parametrize("process", [FlowMatching(), VariancePreserving()])
@pytest.mark.parametrize("sigma", [0.25, 0.6, 0.8])
def test_the_spectrum_of_x_t_is_the_analytic_one(process: NoiseProcess, sigma: float) -> None:
    x0 = power_law_field(2.0, batch=256, side=32)
    measured = radial_spectrum(process.add_noise(x0, noise(*x0.shape, seed=1), sigma))
    expected = noisy_spectrum(radial_spectrum(x0).mean(), sigma, process).power
    error = measured.power.std((0, 1)) / math.sqrt(len(x0))
    assert ((measured.mean().power - expected).abs() < 4.5 * error).all()


def test_a_downscaled_image_keeps_its_low_band() -> None:
    smooth = power_law_field(4.0, batch=64, side=128)
    whole, half = radial_spectrum(smooth).mean(), radial_spectrum(downscale_area(smooth, (64, 64))).mean()
    band = slice(1, 8)  # far below the Nyquist frequency of the smaller one
    torch.testing.assert_close(4 * half.power[band], whole.power[band], rtol=0.05, atol=0)


def test_rings_beyond_the_inscribed_circle_are_told_apart() -> None:
    spectrum = radial_spectrum(noise(1, 1, 16, 16))
    assert spectrum.frequency[spectrum.inscribed].max() == 0.5
    assert spectrum.frequency.max() == pytest.approx(11 / 16)  # the corner, at sqrt(1/2), is nearest to ring 11


@pytest.mark.parametrize("process", [FlowMatching(), VariancePreserving()])
def test_side_and_sigma_are_inverse(process: NoiseProcess) -> None:
    clean = power_law()
    for side in (8, 16, 32, 48):
        sigma = safe_sigma(clean, side, process=process)
        assert safe_side(clean, sigma + 1e-6, process=process) <= side
        assert safe_side(clean, sigma - 1e-3, process=process) > side


def test_masking_follows_the_closed_form() -> None:
    clean = power_law(exponent=2.0, side=64, amplitude=0.01)
    # signal (1 - s)^2 0.01 / f^2 = noise s^2 where f = 0.1 (1 - s) / s; the side that holds f is 128 f
    assert safe_side(clean, 0.5) == pytest.approx(12.8, abs=2)
    assert safe_side(clean, 0.25) == pytest.approx(38.4, abs=2)
    assert safe_side(clean, 1.0) == 0
    assert safe_side(clean, 0.0) == 64
    assert safe_side(clean, 0.5, margin=4.0) == pytest.approx(25.6, abs=2)


def test_a_larger_margin_asks_for_more_noise() -> None:
    assert safe_sigma(power_law(), 16, margin=2.0) > safe_sigma(power_law(), 16)
    assert safe_sigma(power_law(), 64) == 0


def test_schedules_from_sigmas_and_from_scales_agree() -> None:
    clean = power_law()
    from_scales = schedule_from_spectrum(clean, scales=(16, 32, 48, 64))
    nudged = [sigma + 1e-6 if 0 < sigma < 1 else sigma for sigma in from_scales.sigmas]
    assert schedule_from_spectrum(clean, sigmas=nudged).scales == (16, 32, 48, 64)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith(("mini", "sd35", "flux"))])
@given(exponent=st.floats(0.5, 4), amplitude=st.floats(1e-4, 10), margin=st.floats(0.1, 10))
@settings(deadline=None, max_examples=10)
def test_published_sigmas_give_valid_schedules(name: str, exponent: float, amplitude: float, margin: float) -> None:
    sigmas = preset(name).sigmas
    schedule = schedule_from_spectrum(power_law(exponent, 32, amplitude), sigmas=sigmas, margin=margin)
    assert schedule.sigmas == sigmas
    assert schedule.scales[-1] == 32
    schedule.check_patch(2)


@given(exponent=st.floats(0.5, 4), amplitude=st.floats(1e-3, 1), budget=st.integers(300, 800))
@settings(deadline=None, max_examples=25)
def test_a_budget_buys_the_widest_margin(exponent: float, amplitude: float, budget: int) -> None:
    clean, sigmas = power_law(exponent, 32, amplitude), preset("mini-4").sigmas
    schedule, margin = fill_budget(clean, sigmas=sigmas, num_tokens=budget)
    assert schedule.num_tokens(2) <= budget
    assert schedule == schedule_from_spectrum(clean, sigmas=sigmas, margin=margin)
    wider = [schedule_from_spectrum(clean, sigmas=sigmas, margin=margin * more) for more in (1.001, 1.1, 2, 10)]
    assert all(found.num_tokens(2) > budget or found.scales == schedule.scales for found in wider)


def test_no_proposed_scale_is_below_the_least() -> None:
    clean, sigmas = power_law(2.0, 32, 1e-4), preset("mini-4").sigmas
    assert schedule_from_spectrum(clean, sigmas=sigmas, least=8).scales[0] == 8
    assert schedule_from_spectrum(clean, sigmas=sigmas).scales[0] < 8
    with pytest.raises(ValueError, match="takes 300 tokens or fewer"):
        fill_budget(clean, sigmas=sigmas, num_tokens=300, least=16)


def bad(clean: Spectrum, **changes: object) -> None:
    schedule_from_spectrum(clean, **{"sigmas": (1.0, 0.5, 0.0), **changes})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: radial_spectrum(noise(4, 8, 8)), r"\(B, C, H, W\)"),
        (lambda _: radial_spectrum(noise(1, 1, 1, 8)), "at least 2"),
        (lambda clean: noisy_spectrum(clean, 1.5), "1.5"),
        (lambda clean: safe_side(clean, -0.1), "-0.1"),
        (lambda clean: safe_side(clean, 0.5, margin=0), "margin must be finite and positive, got 0"),
        (lambda clean: safe_sigma(clean, 65), "side must be above 0 and at most 64, got 65"),
        (lambda _: safe_side(radial_spectrum(noise(2, 3, 8, 8)), 0.5), r"call mean\(\)"),
        (lambda clean: bad(clean, scales=(32, 64)), "either sigmas or scales"),
        (lambda clean: bad(clean, sigmas=None), "either sigmas or scales"),
        (lambda clean: bad(clean, multiple=6), "64 is no multiple of the patch size 6"),
        (lambda clean: bad(clean, sigmas=(1.0, 1.0, 0.0)), "fall strictly"),
        (lambda clean: bad(clean, sigmas=None, scales=(16, 32)), "to the final side 64"),
        (lambda clean: bad(clean, sigmas=None, scales=(32, 32, 64)), "rise strictly"),
        (lambda clean: bad(clean, sigmas=None, scales=(31, 64)), "multiples of the patch size"),
        (lambda _: fit_power_law(radial_spectrum(noise(1, 1, 4, 4)).mean()), "four rings"),
        (lambda _: least_octave_fall(radial_spectrum(noise(1, 1, 4, 4)).mean()), "from a side of 8 on"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:  # noqa: ANN001 - a function of a spectrum
    with pytest.raises(ValueError, match=message):
        call(power_law())
