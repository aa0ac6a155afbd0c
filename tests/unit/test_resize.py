import math

import pytest
import torch

from swd.resize import UpscaleMode, downscale_area, upscale, upscale_bicubic


def test_area_averages_what_a_pixel_covers() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = torch.tensor([[2.5, 4.5], [10.5, 12.5]])
    torch.testing.assert_close(downscale_area(x, (2, 2))[0, 0], expected)


def test_area_keeps_the_mean_where_sides_divide() -> None:
    x = torch.rand(2, 3, 24, 36, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(downscale_area(x, (8, 12)).mean((2, 3)), x.mean((2, 3)))


def cubic_weights(size: int, new_size: int) -> torch.Tensor:
    """Interpolation matrix (new_size, size) of the cubic kernel with a = -0.75 and repeated borders, entry by entry."""

    def kernel(d: float) -> float:
        a, d = -0.75, abs(d)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    weights = torch.zeros(new_size, size, dtype=torch.float64)
    for row in range(new_size):
        centre = (row + 0.5) * size / new_size - 0.5
        for place in range(math.floor(centre) - 1, math.floor(centre) + 3):
            weights[row, min(max(place, 0), size - 1)] += kernel(centre - place)
    return weights


@pytest.mark.parametrize("sizes", [((8, 12), (12, 16)), ((5, 8), (7, 8))])
def test_bicubic_is_the_cubic_kernel_with_aligned_centres(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (h, w), (new_h, new_w) = sizes
    x = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = cubic_weights(h, new_h) @ x @ cubic_weights(w, new_w).T
    torch.testing.assert_close(upscale_bicubic(x, (new_h, new_w)), expected)


@pytest.mark.parametrize("resize", [downscale_area, upscale_bicubic])
def test_the_same_size_is_the_same_tensor(resize: object) -> None:
    x = torch.rand(1, 2, 6, 8)
    assert resize(x, (6, 8)) is x


def test_wrong_directions_are_refused() -> None:
    x = torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"cannot enlarge \(8, 8\) to \(8, 10\)"):
        downscale_area(x, (8, 10))
    with pytest.raises(ValueError, match=r"cannot upscale \(8, 8\) to the smaller \(6, 10\)"):
        upscale_bicubic(x, (6, 10))


@pytest.mark.parametrize(("old", "new"), [(8, 16), (8, 13), (7, 16), (9, 12)])
def test_fourier_upscaling_is_exact_for_what_the_small_side_holds(old: int, new: int) -> None:
    def wave(side: int) -> torch.Tensor:
        place = (torch.arange(side) + 0.5) / side  # pixel centres of the same picture
        return (1 + torch.cos(2 * torch.pi * place + 0.3))[:, None] * torch.sin(4 * torch.pi * place)[None]

    torch.testing.assert_close(
        upscale(wave(old)[None, None], (new, new), "fourier")[0, 0], wave(new), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest", "fourier"])
def test_every_mode_keeps_a_constant(mode: UpscaleMode) -> None:
    x = torch.full((1, 2, 6, 5), 0.7)
    torch.testing.assert_close(upscale(x, (12, 9), mode), torch.full((1, 2, 12, 9), 0.7))


def test_nearest_repeats_and_unknown_modes_are_named() -> None:
    x = torch.rand(1, 1, 4, 4)
    assert torch.equal(upscale(x, (8, 8), "nearest"), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    with pytest.raises(ValueError, match="lanczos"):
        upscale(x, (8, 8), "lanczos")  # type: ignore[arg-type]
