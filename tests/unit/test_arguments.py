"""What a caller may write for a schedule."""

from typing import Any

import pytest
import torch

from swd.backbones.arguments import resolve_schedule
from swd.schedule import ScaleSchedule

SCALES, SIGMAS = (64, 80, 96, 128), (1.0, 0.8, 0.6, 0.4)
EXPECTED = ScaleSchedule(SCALES, (*SIGMAS, 0.0))


@pytest.mark.parametrize("tail", [(), (0.0,)])
@pytest.mark.parametrize("names", [("sigmas",), ("timesteps",), ("sigmas", "timesteps")])
def test_levels_come_with_or_without_the_clean_end(tail: tuple[float, ...], names: tuple[str, ...]) -> None:
    levels = torch.tensor([*SIGMAS, *tail])
    given = {"sigmas": levels, "timesteps": levels * 1000}
    found = resolve_schedule(None, SCALES, **{name: given[name] for name in names})
    assert found.scales == EXPECTED.scales
    assert found.sigmas == pytest.approx(EXPECTED.sigmas)
    assert resolve_schedule(None, list(SCALES), sigmas=[*SIGMAS, *tail], timesteps=[1000, 800, 600, 400]) == EXPECTED


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timesteps": [999, 799, 599, 399, 0], "sigmas": SIGMAS}, "timesteps must be 1000 sigma"),
        ({"timesteps": [1000, 800, 600], "sigmas": SIGMAS}, "timesteps must be 1000 sigma"),
        ({"timesteps": [1000, 800, 600]}, "4 scales need 5 sigmas, got 3"),
        ({"timesteps": [1000, 800, 600, 400, 200]}, "to exactly 0"),
        ({}, "scales and sigmas go together"),
    ],
)
def test_levels_that_contradict_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_schedule(None, SCALES, **given)
