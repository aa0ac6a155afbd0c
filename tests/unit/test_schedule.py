import math
from collections.abc import Callable

import pytest

from swd.grid import sigma_grid
from swd.schedule import PRESETS, ScaleSchedule, preset

SIX = (1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022, 0.0)
FOUR = (1.0, 0.8959, 0.7371, 0.6022, 0.0)
PUBLISHED = {
    "sd35-6": ((32, 48, 64, 80, 96, 128), SIX),
    "sd35-4": ((64, 80, 96, 128), FOUR),
    "sd35-4-2025": ((32, 64, 96, 128), (1.0, 0.9454, 0.7904, 0.6022, 0.0)),
    "flux-4": ((64, 80, 96, 128), (1.0, 0.8956, 0.7363, 0.6007, 0.0)),
    "sdxl-4": ((64, 80, 96, 128), (1.0, 0.8, 0.6, 0.4, 0.0)),
    "sd35-full-6": ((128,) * 6, SIX),
    "sd35-full-4": ((128,) * 4, FOUR),
    "sd35-full-2": ((128,) * 2, (1.0, 0.7371, 0.0)),
    "mini-6": ((8, 12, 16, 20, 24, 32), SIX),
    "mini-4": ((16, 20, 24, 32), FOUR),
    "mini-full-6": ((32,) * 6, SIX),
    "mini-full-4": ((32,) * 4, FOUR),
    "mini-full-2": ((32,) * 2, (1.0, 0.7371, 0.0)),
}


EVEN = (1.0, 0.8150, 0.6670, 0.4820, 0.3340, 0.1490, 0.0)
OWN = {
    "mini-half-6": ((16,) * 5 + (32,), SIX),
    "mini-quarter-6": ((8,) * 5 + (32,), SIX),
    "sd35-half-6": ((64,) * 5 + (128,), SIX),
    "sd35-quarter-6": ((32,) * 5 + (128,), SIX),
    "mini-even-6": ((8, 12, 16, 20, 24, 32), EVEN),
    "sd35-even-6": ((32, 48, 64, 80, 96, 128), EVEN),
    "mini-spectrum-6": ((8, 8, 14, 16, 28, 32), SIX),
    "mini-spectrum-4": ((8, 16, 28, 32), FOUR),
    "mini-grow-2": ((16,) * 16 + (32,) * 12, sigma_grid()),
    "mini-grow-3": ((8,) * 11 + (16,) * 5 + (32,) * 12, sigma_grid()),
}
NAMED = {**PUBLISHED, **OWN}


@pytest.mark.parametrize("name", NAMED)
def test_preset_is_what_was_published(name: str) -> None:
    scales, sigmas = NAMED[name]
    schedule = preset(name)
    assert schedule.scales == scales
    assert schedule.sigmas == pytest.approx(sigmas, abs=1e-4)
    assert schedule.is_scalewise == ("full" not in name)
    assert schedule.num_steps == len(scales)


def test_every_preset_is_checked() -> None:
    assert set(NAMED) == set(PRESETS)


def test_grid_ends_where_the_paper_says() -> None:
    grid = sigma_grid()
    assert len(grid) == 29
    assert grid[0] == 1
    assert grid[28] == 0
    assert [round(1000 * grid[index]) for index in (12, 18, 27)] == [790, 602, 9]


def test_own_presets_cost_what_their_rows_say() -> None:
    tokens = {name: preset(f"mini-{name}").num_tokens(2) for name in ("4", "6", "spectrum-4", "spectrum-6")}
    assert round(100 * (1 - tokens["spectrum-4"] / tokens["4"])) == 6
    assert round(100 * (1 - tokens["spectrum-6"] / tokens["6"])) == 3
    assert preset("mini-grow-2").num_tokens(2) == 16 * 16**2
    assert preset("mini-grow-3").num_tokens(2) == pytest.approx(14 * 16**2, rel=0.005)


def test_tokens_are_the_compute_column() -> None:
    assert preset("mini-4").num_tokens(2) == 8**2 + 10**2 + 12**2 + 16**2
    assert preset("mini-full-2").num_tokens(2) == 2 * 16**2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScaleSchedule((), (0.0,)), "at least one scale"),
        (lambda: ScaleSchedule((16, 8), (1.0, 0.5, 0.0)), r"must not shrink, got \(16, 8\)"),
        (lambda: ScaleSchedule((8, 16), (1.0, 0.5)), "2 scales need 3 sigmas, got 2"),
        (lambda: ScaleSchedule((8, 16), (1.0, 1.0, 0.0)), "fall strictly"),
        (lambda: ScaleSchedule((8, 16), (0.5, 0.7, 0.0)), "fall strictly"),
        (lambda: ScaleSchedule((8, 16), (1.0, math.nan, 0.0)), "fall strictly"),
        (lambda: ScaleSchedule((8, 16), (1.0, 0.5, 0.1)), "exactly 0"),
        (lambda: ScaleSchedule((8, 16), (1.5, 0.5, 0.0)), "at most 1"),
        (lambda: ScaleSchedule((8.5, 16), (1.0, 0.5, 0.0)), "positive integers"),
        (lambda: ScaleSchedule((0, 16), (1.0, 0.5, 0.0)), "positive integers"),
        (lambda: ScaleSchedule.from_boundaries((0, 14, 14, 28), (8, 8, 8)), "rise strictly"),
        (lambda: ScaleSchedule.from_boundaries((0, 14), (8,)), "rise strictly within 0..28 and end there"),
        (lambda: ScaleSchedule.from_boundaries((), ()), "boundaries"),
        (lambda: ScaleSchedule.from_boundaries((-1, 28), (8,)), "boundaries"),
        (lambda: ScaleSchedule.from_boundaries((0, 14, 28), (8,)), "1 scales need 2 sigmas, got 3"),
        (lambda: preset("mini-6").check_patch(8), r"patch size 8, got \[12, 20\]"),
        (lambda: sigma_grid(0), "num_steps must be from 1 to 1000, got 0"),
        (lambda: sigma_grid(28, 0.0), "positive"),
    ],
)
def test_bad_schedules_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no preset 'mini-full-5'; nearest: mini-full-"):
        preset("mini-full-5")


def test_lists_become_tuples_so_that_schedules_hash() -> None:
    assert hash(ScaleSchedule([8, 16], [1, 0.5, 0])) == hash(ScaleSchedule((8, 16), (1.0, 0.5, 0.0)))


def test_latent_sizes() -> None:
    schedule = preset("sd35-6")
    assert schedule.latent_sizes(multiple=2) == tuple((scale, scale) for scale in schedule.scales)
    of_832x1216 = ((26, 38), (40, 58), (52, 76), (66, 96), (78, 114), (104, 152))  # 39 and 57 are no multiples of 2
    assert schedule.latent_sizes((104, 152), multiple=2) == of_832x1216
    assert ScaleSchedule((1, 64), (1.0, 0.5, 0.0)).latent_sizes((16, 64), multiple=2) == ((2, 2), (16, 64))


@pytest.mark.parametrize("size", [(0, 16), (16, -2), (15, 16)])
def test_latent_sizes_that_no_patches_tile(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"positive multiples of 2, got {size[0]} x {size[1]}"):
        preset("sd35-6").latent_sizes(size, multiple=2)
