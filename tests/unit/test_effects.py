"""Cells of a table: intervals from values per image and replicates where they are recorded, else the records' own."""

import numpy as np
import pytest
from harness_world import RUN, record

from repro.harness.cells import Estimate, measured
from repro.harness.effects import captions_of, effects_of_images, effects_of_sets, without_group
from repro.harness.inference import of_images, of_replicates
from repro.harness.schema import CAPTIONS, Line, PerImage, RecordError, RecordSet, Series

VALUES = np.random.default_rng(0).normal(0.5, 0.2, (3, 40)).round(5)
CAPTION = np.arange(40) // 4


def asked() -> PerImage:
    return PerImage.of(CAPTION.astype(float), variant=CAPTIONS, prompts="short", metric=CAPTIONS, seed=0)


def scored(seeds: int = 3, shift: float = 0.0) -> list[Line]:
    """Records with an interval of +- 9, which nothing below has, and the values behind them."""
    made: list[Line] = [RUN, asked()]
    for seed in range(seeds):
        mean = float(VALUES[seed].mean()) + shift
        made.append(record("small", "short", "accuracy", mean, seed=seed, ci_low=mean - 9, ci_high=mean + 9))
        made.append(PerImage.of(VALUES[seed], variant="small", prompts="short", metric="accuracy", seed=seed))
    return made


def cell(made: list[Line], metric: str = "accuracy") -> Estimate:
    found = measured(RecordSet.of(made), "small", "short", metric)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_cell_has_the_interval_of_its_images_by_caption_and_seed(seeds: int) -> None:
    found, wanted = cell(scored(seeds)), of_images(VALUES[:seeds], CAPTION, range(seeds))
    assert found.value == pytest.approx(wanted.value)
    assert found.high - found.value == pytest.approx(wanted.spread().half())


def test_a_cell_of_a_whole_set_has_that_of_its_replicates() -> None:
    replicates = np.random.default_rng(1).normal(7.0, 0.1, (3, 20)).round(5)
    made: list[Line] = [RUN, asked()]
    for seed in range(3):
        made.append(record("small", "short", "distance", 7.0 + seed, seed=seed))
        name = without_group("distance", "short", seed)
        made.append(Series.of("small", name, replicates[seed], over="replicate", n=40))
    found = cell(made, "distance")
    half = of_replicates(np.array([7.0, 8.0, 9.0]), replicates, range(3), 40).spread().half()
    assert (found.value, found.high - 8.0) == pytest.approx((8.0, half), rel=1e-4)
    assert effects_of_sets(RecordSet.of(made[:-1]), "small", "short", "distance") is None


@pytest.mark.parametrize("why", ["captions are not known", "the number is no mean of its values", "all values agree"])
def test_else_a_cell_has_the_interval_of_its_record(why: str) -> None:
    made = scored(1, shift=0.1 if why.startswith("the number") else 0.0)
    if why.startswith("captions"):
        made = [line for line in made if line != asked()]
    if why.startswith("all"):
        made = [RUN, asked(), record("small", "short", "accuracy", 1.0, ci_low=0.9, ci_high=1.0)]
        made.append(PerImage.of(np.ones(40), variant="small", prompts="short", metric="accuracy", seed=0))
    own = RecordSet.of(made).find("small", "short", "accuracy")[0]
    assert (cell(made).low, cell(made).high) == (own.ci_low, own.ci_high)


def test_a_cell_that_was_not_measured_is_none() -> None:
    assert measured(RecordSet.of([RUN, asked()]), "small", "short", "accuracy") is None
    assert effects_of_images(RecordSet.of([RUN]), "small", "short", "accuracy") is None
    assert captions_of(RecordSet.of([RUN]), "short") is None


def test_replicates_of_unequal_number_are_refused() -> None:
    made: list[Line] = [RUN]
    for seed, count in ((0, 20), (1, 19)):
        made.append(record("small", "short", "distance", 7.0, seed=seed))
        name = without_group("distance", "short", seed)
        made.append(Series.of("small", name, np.arange(float(count)), over="replicate"))
    with pytest.raises(RecordError, match="small short distance: training seeds have different numbers of replicates"):
        effects_of_sets(RecordSet.of(made), "small", "short", "distance")
