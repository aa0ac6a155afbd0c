"""Coverage of intervals made of others: four cells, two sets of prompts, KID, placement, blends, latencies, spectra.

Each truth is known by construction, and the replicates are those of the jackknife over 20 groups of captions that the
records hold. Tolerances as in `test_coverage`; a jackknife may be cautious, up to 98 %, where that says so.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from coverage_world import Array, allowed, jackknifed
from harness_world import RUN

from repro.harness.cells import estimate
from repro.harness.clock import mean_time
from repro.harness.inference import averaged, difference, of_images, of_replicates
from repro.harness.schema import Record, RecordSet, Series
from repro.kinds.scores.costs import SECONDS
from repro.kinds.scores.declare import better
from repro.kinds.scores.equal_time import share_of_slower
from repro.kinds.spectra.panel_spectra import NUMBERS, PanelSpectra
from swd.flow import FlowMatching
from swd.spectra import Spectrum

GROUPS, EACH = 20, 15
Draw = Callable[[np.random.Generator], tuple[float, float]]


def coverage(draw: Draw, runs: int) -> float:
    """How often a deviation from the truth is within its half-width."""
    rng = np.random.default_rng(runs)
    return float(np.mean([abs(deviation) <= half for deviation, half in (draw(rng) for _ in range(runs))]))


def assert_covers(draw: Draw, runs: int = 600, highest: float = 0.98) -> None:
    found = coverage(draw, runs)
    assert 1 - allowed(0.07, runs) <= found <= allowed(highest, runs)


def test_contrasts_of_four_cells_cover() -> None:
    """(B at 400 - A at 400) - (B at 600 - A at 600) of rows whose images have the most in common; the truth is 0."""

    def draw(rng: np.random.Generator) -> tuple[float, float]:
        scenes = rng.normal(size=(1, GROUPS, EACH, 6))
        level = np.array([0.6, 0.6, 0.3, 0.3])[:, None, None, None]  # both orders of a noise level are alike
        values, replicates = jackknifed(level + scenes + 0.6 * rng.normal(size=(4, GROUPS, EACH, 6)))
        signs = np.array([1.0, -1.0, -1.0, 1.0])
        effects = of_replicates(np.array([signs @ values]), (signs @ replicates)[None], (0,), GROUPS * EACH)
        return effects.value, effects.spread().half()

    assert_covers(draw)


def test_differences_averaged_over_sets_of_prompts_cover() -> None:
    def draw(rng: np.random.Generator) -> tuple[float, float]:
        sides = []
        scenes = rng.normal(size=(2, 1, GROUPS, EACH, 6))  # two sets of prompts
        for _ in range(2):
            found = [jackknifed(0.3 + scene + 0.7 * rng.normal(size=(1, GROUPS, EACH, 6))) for scene in scenes]
            sides.append(averaged([of_replicates(value, without, (0,), 300) for value, without in found]))
        gap, spread = difference(sides[0], sides[1])
        return gap, spread.half()

    assert_covers(draw)


def cubed(values: Array) -> Array:
    """Products, for numpy's powers are slow."""
    return values * values * values


def kernel_distances(fake: Array, real: Array) -> tuple[float, Array]:
    """Unbiased squared MMD under (x . y / D + 1)^3 and the same without each group, from sums of blocks."""
    dimension = fake.shape[-1]
    images = fake.reshape(-1, dimension)
    own, across = (cubed(images @ other.T / dimension + 1) for other in (images, real))
    reference = cubed(real @ real.T / dimension + 1)
    constant = (reference.sum() - np.trace(reference)) / (len(real) * (len(real) - 1))
    np.fill_diagonal(own, 0.0)
    count, each = len(images), len(images) // len(fake)
    rows = own.sum(axis=1).reshape(len(fake), each).sum(axis=1)
    blocks = own.reshape(len(fake), each, len(fake), each).sum(axis=(1, 3)).diagonal()
    beside = across.sum(axis=1).reshape(len(fake), each).sum(axis=1)

    def distance(inside: Array, outside: Array, n: int) -> Array:
        return inside / (n * (n - 1)) + constant - 2 * outside / (n * len(real))

    whole = distance(own.sum(), across.sum(), count)
    without = distance(own.sum() - 2 * rows + blocks, across.sum() - beside, count - each)
    return float(whole), without


def test_the_replicates_of_kid_are_those_of_sets_without_a_group() -> None:
    rng = np.random.default_rng(0)
    fake, real = rng.normal(size=(5, 4, 3)), rng.normal(size=(30, 3))
    _, without = kernel_distances(fake, real)
    assert without == pytest.approx([kernel_distances(np.delete(fake, g, axis=0), real)[0] for g in range(5)])


def test_differences_of_kid_cover() -> None:
    """Two rows of one distribution, of images of the same scenes, against the same real ones."""
    real = np.random.default_rng(1).normal(size=(100, 6))

    def draw(rng: np.random.Generator) -> tuple[float, float]:
        scenes = rng.normal(size=(GROUPS, 5, 6))
        first, second = (kernel_distances(0.2 + scenes + 0.5 * rng.normal(size=scenes.shape), real) for _ in range(2))
        gap = np.array([first[0] - second[0]])
        effects = of_replicates(gap, (first[1] - second[1])[None], (0,), GROUPS * 5)
        return effects.value, effects.spread().half()

    assert_covers(draw, runs=400)


def placements(places: Array) -> tuple[float, Array]:
    """Root of the variance of places within captions, (G, captions, images), and without each group."""
    variances = places.var(axis=-1, ddof=1).sum(axis=-1)  # (G,)
    counts = places.shape[0] * places.shape[1]
    without = (variances.sum() - variances) / (counts - places.shape[1])
    return float(np.sqrt(variances.sum() / counts)), np.sqrt(without)


@pytest.mark.parametrize("seeds", [1, 5])
def test_placement_covers(seeds: int) -> None:
    """160 captions of two images each, a true deviation of 3; seeds differ by 2 % of it where there are several."""

    def draw(rng: np.random.Generator) -> tuple[float, float]:
        scale = 3.0 * (1 + (0.02 * rng.normal(size=seeds) if seeds > 1 else np.zeros(1)))
        spread_of_caption = np.exp(0.2 * rng.normal(size=(1, GROUPS, 8, 1)) - 0.04)  # mean square 1
        places = scale[:, None, None, None] * spread_of_caption * rng.normal(size=(seeds, GROUPS, 8, 2))
        found = [placements(row) for row in places]
        values = np.array([value for value, _ in found])
        effects = of_replicates(values, np.array([without for _, without in found]), range(seeds), 320)
        return effects.value - 3.0, effects.spread().half()

    assert_covers(draw)


@pytest.mark.parametrize("gap", [2.0, 8.0])
def test_a_difference_at_equal_latency_covers_although_the_share_is_measured(gap: float) -> None:
    """Rows ``gap`` standard errors apart, a clock of 15 rounds with noise of 2 %: what the share adds is small."""
    check = replace(better("prompt_alignment", "small", "big"), slower="bigger")
    images = 120

    def draw(rng: np.random.Generator) -> tuple[float, float]:
        scenes = rng.normal(size=images)
        big, bigger, small = (scenes + 0.5 * rng.normal(size=images) for _ in range(3))
        apart = gap * 0.5 * (1.52 / images) ** 0.5  # standard errors of the difference
        bigger, small = bigger + apart, small + 0.4 * apart
        clock = [("big", 1.0), ("small", 1.4), ("bigger", 2.0)]
        lines = [
            Series.of(row, SECONDS, list(seconds * np.exp(0.02 * rng.normal(size=15))), over="round", unit="s")
            for row, seconds in clock
        ]
        share = share_of_slower(check, RecordSet.of(lines))
        assert isinstance(share, float)
        found = of_images((small - (1 - share) * big - share * bigger)[None], np.arange(images), (0,))
        return found.value, found.spread().half()

    assert_covers(draw, highest=0.97)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("own", [0.2, 1.0, 3.0])
def test_cells_without_captions_cover_and_are_cautious(seeds: int, own: float) -> None:
    """Records with intervals of their own: what they have of captions counts twice, so up to 99.7 %."""

    def draw(rng: np.random.Generator) -> tuple[float, float]:
        captions = rng.normal()
        values = captions + own * rng.normal(size=seeds)
        found = [
            Record.of(RUN, "row", "metric", float(value), seed=seed, bounds=(value - 1.96, value + 1.96))
            for seed, value in enumerate(values)
        ]
        shown = estimate(found)
        assert shown is not None
        assert shown.high is not None
        return shown.value, shown.high - shown.value

    assert_covers(draw, highest=0.997)


@pytest.mark.parametrize("rounds", [3, 5, 15])
@pytest.mark.parametrize("hang", [0.0, 0.1])
def test_latencies_cover(rounds: int, hang: float) -> None:
    """The mean logarithm, with rounds that hang or without: a bootstrap of the median covers 74 % at three rounds."""

    def draw(rng: np.random.Generator) -> tuple[float, float]:
        late = np.where(rng.random(rounds) < hang, rng.exponential(0.02, rounds), 0.0)
        seconds, (low, high) = mean_time(list(np.exp(0.02 * rng.normal(size=rounds) + late)))
        assert low is not None
        assert high is not None
        return float(np.log(seconds)) - hang * 0.02, float(np.log(high / seconds))

    assert_covers(draw, runs=1500)


def test_numbers_of_a_mean_spectrum_cover() -> None:
    """Images differ in loudness, and each of their rings from the law, which is bent: R^2 is not 1."""
    side, images, runs = 32, 100, 150
    rings = torch.arange(side // 2 + 1)
    clean = Spectrum(
        torch.ones(len(rings)), rings / side, torch.clamp(2 * np.pi * rings, min=1) / side**2, (side, side)
    )
    law = torch.clamp(rings, min=1, max=12).double() ** -2
    truth = {key: number(replace(clean, power=law)) for key, number in NUMBERS.items()}
    rng, within = np.random.default_rng(0), dict.fromkeys(NUMBERS, 0)
    for _ in range(runs):
        noise = rng.lognormal(sigma=0.5, size=(images, 1)) * rng.gamma(3.0, size=(images, len(rings)))
        panel = PanelSpectra(replace(clean, power=law * torch.from_numpy(noise)), {}, FlowMatching())
        for key, number in panel.numbers():
            assert number.ci_low is not None
            within[key] += abs(number.value - truth[key]) <= number.value - number.ci_low
    for count in within.values():
        assert 1 - allowed(0.07, runs) <= count / runs <= allowed(0.98, runs)
