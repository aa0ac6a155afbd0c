from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from repro.metrics.base import MemoryMeasured, Prompt
from repro.metrics.diversity import Diversity

NAME = "diversity.features"


def prompts(n: int, images: int = 4) -> list[dict[str, object]]:
    """As a world gives them: some images a prompt, each with a seed of its own."""
    return [
        {"id": f"p{index}-{k}", "prompt_id": f"p{index}", "seed": 256 * index + k}
        for index in range(n)
        for k in range(images)
    ]


def features(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 6)).astype(np.float32)


def measured(entries: list[Prompt], rows: np.ndarray, batch: int = 5) -> MemoryMeasured:
    return MemoryMeasured(entries, {NAME: [rows[start : start + batch] for start in range(0, len(rows), batch)]})


def test_value_is_the_mean_cosine_distance_of_all_pairs() -> None:
    entries, rows = prompts(9), features(36)
    found = Diversity().by_prompt(measured(entries, rows), NAME)
    for index in range(9):
        own = rows[4 * index : 4 * index + 4].astype(np.float64)
        expected = np.mean([cosine(a, b) for a, b in combinations(own, 2)])
        assert found.values[f"p{index}"] == pytest.approx(expected, rel=1e-6)
    estimate = Diversity().estimates(measured(entries, rows), NAME)["diversity"]
    values = np.array(list(found.values.values()))
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.n == 9
    assert estimate.ci_high - estimate.value == pytest.approx(2.306 * values.std(ddof=1) / 3, rel=1e-3)


def test_same_image_has_none_and_opposite_images_have_two() -> None:
    entries = prompts(2, images=2)
    row = features(1)
    rows = np.concatenate([row, 3 * row, row, -row])
    values = Diversity().by_prompt(measured(entries, rows), NAME).values
    assert values["p0"] == pytest.approx(0, abs=1e-7)
    assert values["p1"] == pytest.approx(2)


def test_batches_and_order_do_not_matter() -> None:
    entries, rows = prompts(8), features(32)
    order = np.random.default_rng(1).permutation(32)
    one = Diversity().by_prompt(measured(entries, rows, 1), NAME).values
    other = Diversity().by_prompt(measured([entries[i] for i in order], rows[order], 32), NAME).values
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-9)


def test_skipped_images_leave_fewer_pairs_and_lonely_ones_are_told() -> None:
    entries, rows = prompts(3), features(12)
    keep = [0, 2, 4, 8, 9, 10, 11]  # two of p0, one of p1, all of p2
    found = Diversity().by_prompt(measured([entries[i] for i in keep], rows[keep]), NAME)
    assert set(found.values) == {"p0", "p2"}
    assert found.values["p0"] == pytest.approx(cosine(rows[0], rows[2]), rel=1e-6)
    assert found.alone == ("p1",)


def test_what_is_not_diversity_is_refused() -> None:
    entries = prompts(2)
    entries[1]["seed"] = entries[0]["seed"]
    with pytest.raises(ValueError, match="two images of prompt p0 have seed 0"):
        Diversity().estimates(measured(entries, features(8)), NAME)
    with pytest.raises(ValueError, match="2 images have no prompt_id, the first is 0"):
        Diversity().estimates(measured([{"id": "a"}, {"id": "b"}], features(2)), NAME)
    with pytest.raises(ValueError, match="all 2 prompts have one"):
        Diversity().estimates(measured(prompts(2)[::4], features(2)), NAME)
    rows = features(8)
    rows[3], rows[5] = 0, np.nan
    with pytest.raises(ValueError, match="1 features are zero or not finite"):
        Diversity().estimates(measured(prompts(2), rows), NAME)
