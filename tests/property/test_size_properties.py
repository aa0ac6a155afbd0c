"""Sizes that are refused come with a proposal, and a proposal is never refused in turn."""

import itertools
import re

import pytest

from swd.backbones.sizes import SizeLimits, resolve_size
from swd.schedule import ScaleSchedule, preset

SCHEDULES = {"growing": ScaleSchedule((4, 6, 8), (1.0, 0.8, 0.5, 0.0)), "constant": ScaleSchedule((8,), (1.0, 0.0))}
SD35 = SizeLimits(multiple=2, factor=8, max_side=384)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("max_side", [None, 13, 8])
@pytest.mark.parametrize(("multiple", "factor"), [(1, 1), (2, 2), (4, 1)])
def test_every_size_is_taken_or_has_a_proposal_that_is(
    schedule: ScaleSchedule, max_side: int | None, multiple: int, factor: int
) -> None:
    limits = SizeLimits(multiple=multiple, factor=factor, max_side=max_side)
    default = (factor * schedule.scales[0],) * 2
    for height, width in itertools.product(range(-3, 40), repeat=2):
        try:
            found = resolve_size(schedule, height, width, limits)
        except ValueError as error:
            match = re.search(r"nearest size is (\d+) x (\d+)$", str(error))
            assert match
            rows, columns = int(match[1]), int(match[2])
            assert resolve_size(schedule, rows, columns, limits) == (rows // factor, columns // factor)
        else:
            read = default if found is None else (found[0] * factor, found[1] * factor)
            assert read == (height, width)
            assert found is None or (found[0] % multiple, found[1] % multiple) == (0, 0)
            assert max_side is None or max(height, width) <= factor * max_side


@pytest.mark.parametrize(
    ("height", "width"), [(832, 1216), (896, 1152), (768, 1344), (720, 1280), (1536, 640), (1024, 1024), (2048, 3072)]
)
def test_sizes_that_users_ask_for(height: int, width: int) -> None:
    schedule = preset("sd35-6")
    size = resolve_size(schedule, height, width, SD35)
    assert size == (height // 8, width // 8)
    assert schedule.latent_sizes(size, multiple=2)[-1] == size


def test_the_error_says_where_positions_end() -> None:
    with pytest.raises(ValueError, match="multiples of 16 up to 3072, got 3088 x 1000; the nearest size is 3072 x 992"):
        resolve_size(preset("sd35-6"), 3088, 1000, SD35)
