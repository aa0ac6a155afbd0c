from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swd.grid import sigma_grid, time_shift
from swd.schedule import ScaleSchedule

shifts = st.floats(0.1, 10)
levels = st.floats(0, 1)


@given(sigma=levels, first=shifts, second=shifts)
def test_shifts_compose_by_multiplication(sigma: float, first: float, second: float) -> None:
    assert time_shift(time_shift(sigma, first), second) == pytest.approx(time_shift(sigma, first * second))


@given(sigma=levels, shift=shifts)
def test_shift_is_undone_by_its_inverse(sigma: float, shift: float) -> None:
    assert time_shift(time_shift(sigma, shift), 1 / shift) == pytest.approx(sigma)


@given(num_steps=st.integers(1, 200), shift=shifts)
def test_grid_falls_from_one_to_zero(num_steps: int, shift: float) -> None:
    grid = sigma_grid(num_steps, shift)
    assert (len(grid), grid[0], grid[-1]) == (num_steps + 1, 1, 0)
    assert all(high > low for high, low in pairwise(grid))


@given(starts=st.sets(st.integers(0, 27), min_size=1), data=st.data())
def test_any_rising_boundaries_and_scales_make_a_schedule(starts: set[int], data: st.DataObject) -> None:
    sides = data.draw(st.lists(st.integers(1, 64), min_size=len(starts), max_size=len(starts)))
    schedule = ScaleSchedule.from_boundaries((*sorted(starts), 28), sorted(sides))
    assert schedule.sigmas[:-1] == tuple(sigma_grid()[start] for start in sorted(starts))
    assert schedule.num_tokens(1) == sum(side**2 for side in sides)


@given(
    scales=st.lists(st.integers(1, 160), min_size=1, max_size=6),
    patches=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    multiple=st.sampled_from([1, 2, 4]),
)
def test_latent_sizes_end_at_the_size_and_never_shrink(
    scales: list[int], patches: tuple[int, int], multiple: int
) -> None:
    schedule = ScaleSchedule(tuple(sorted(scales)), tuple(1 - i / len(scales) for i in range(len(scales) + 1)))
    size = (patches[0] * multiple, patches[1] * multiple)
    sizes = schedule.latent_sizes(size, multiple=multiple)
    assert sizes[-1] == size
    for before, after in pairwise(sizes):
        assert before[0] <= after[0]
        assert before[1] <= after[1]
    for scale, found in zip(schedule.scales, sizes, strict=True):
        for side, length in zip(size, found, strict=True):
            exact = side * scale / schedule.scales[-1]
            assert length % multiple == 0
            assert length == multiple or abs(length - exact) <= multiple / 2 + 1e-9
