"""Presets that are derived from a spectrum are what the rule gives from the committed records of Figure 1."""

from pathlib import Path

import pytest
import torch

from repro.harness.records import load
from repro.kinds.spectra import keys
from swd.grid import sigma_grid
from swd.schedule import preset
from swd.spectra import Spectrum, safe_sigma
from swd.spectral_budget import fill_budget

RECORDS = Path(__file__).parents[2] / "paper_tables" / "records" / "figure1.jsonl"
GROWTH_MARGIN = 10  # of noise over what a side cannot hold, when the undistilled teacher grows
SMALLEST = 8  # side that the teacher was trained at


@pytest.fixture(scope="module")
def scenes() -> Spectrum:
    curve = load(RECORDS).find_curve("scenes", keys.CLEAN)
    assert curve is not None
    frequency, power = (torch.tensor(values, dtype=torch.float64) for values in (curve.x, curve.y))
    return Spectrum(power, frequency, torch.full_like(power, torch.nan), (32, 32))


@pytest.mark.parametrize("steps", [4, 6])
def test_scales_are_the_widest_margin_for_the_published_cost(scenes: Spectrum, steps: int) -> None:
    published, ours = preset(f"mini-{steps}"), preset(f"mini-spectrum-{steps}")
    found, margin = fill_budget(scenes, sigmas=published.sigmas, num_tokens=published.num_tokens(2), least=SMALLEST)
    assert (found.scales, found.sigmas) == (ours.scales, ours.sigmas)
    assert margin == pytest.approx(22.6, abs=0.05)


@pytest.mark.parametrize(("name", "sides"), [("mini-grow-2", (16,)), ("mini-grow-3", (8, 16))])
def test_the_teacher_grows_as_late_as_the_margin_allows(scenes: Spectrum, name: str, sides: tuple[int, ...]) -> None:
    levels, scales = sigma_grid(), preset(name).scales
    for side in sides:
        last = max(step for step, scale in enumerate(scales) if scale <= side)  # the next step must lose nothing
        least = safe_sigma(scenes, side, margin=GROWTH_MARGIN)
        assert levels[last + 1] >= least > levels[last + 2]
