"""The loss of the mini decoder in closed form: what each kind of error costs."""

import math

import pytest
import torch

from repro.worlds.mini.decoder import FOURIER_WEIGHT, L1_WEIGHT, detail_loss


def test_a_constant_error_has_one_coefficient() -> None:
    pixels = torch.zeros(2, 3, 16, 16)
    offset = 0.25
    coefficients = 16 * 9  # of a real transform of 16 x 16
    fourier = 16 * 16 * offset / coefficients
    expected = offset**2 + L1_WEIGHT * offset + FOURIER_WEIGHT * fourier
    assert float(detail_loss(pixels + offset, pixels)) == pytest.approx(expected, rel=1e-5)


def test_waves_of_one_energy_cost_the_same_at_every_frequency() -> None:
    x = torch.arange(16)
    losses = []
    for cycles in (1, 3, 7):
        wave = 0.1 * math.sqrt(2) * torch.cos(2 * math.pi * cycles * x / 16)
        losses.append(float(detail_loss(wave.expand(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))))
    assert losses == pytest.approx([losses[0]] * 3, rel=0.02)


def test_no_error_costs_nothing_and_the_gradient_is_finite_there() -> None:
    decoded = torch.zeros(1, 3, 8, 8, requires_grad=True)
    loss = detail_loss(decoded, torch.zeros(1, 3, 8, 8))
    loss.backward()
    assert loss.item() == 0
    assert decoded.grad is not None
    assert bool(torch.isfinite(decoded.grad).all())
