import logging
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torch_fidelity.metric_fid
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from repro.metrics.base import Estimate, MemoryMeasured
from repro.metrics.fid import Reference as SmallReference
from repro.metrics.fid import frechet_distance as small_distance
from repro.metrics.frechet import CELLS, Fid, cells_of, collect, few_images
from repro.metrics.gaussian import Gaussian, Moments, Rows, covariance_factor, frechet_distance
from repro.metrics.reference import Reference, moments

NAME = "fid.features"


def draw(n: int, dim: int, seed: int, *, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Correlated float32 features whose covariance falls off."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((dim, dim)) / np.arange(1, dim + 1) ** 0.5
    return (spread * rng.standard_normal((n, dim)) @ mixing.T + shift).astype(np.float32)


def reference_of(features: np.ndarray, *, with_features: bool = False) -> Reference:
    mean, covariance = moments(features)
    return Reference(mean, covariance, len(features), features if with_features else None, "0" * 64, None)


def measured(features: np.ndarray, *, cuts: Sequence[int] = (), ids: Sequence[str] | None = None) -> MemoryMeasured:
    names = ids or [f"image {index}" for index in range(len(features))]
    return MemoryMeasured([{"id": name} for name in names], {NAME: np.split(features, list(cuts))})


def estimate(reference: Reference, features: np.ndarray, **how: Sequence[int]) -> dict[str, Estimate]:
    return Fid(reference).estimates(measured(features, **how), NAME)


def test_distance_is_that_of_pytorch_fid_and_torch_fidelity() -> None:
    real, fake = draw(500, 32, 1), draw(400, 32, 2, spread=0.8, shift=0.3)
    ours = estimate(reference_of(real), fake)["fid"].value
    stats = [(x.astype(np.float64).mean(0), np.cov(x.astype(np.float64), rowvar=False)) for x in (fake, real)]
    assert ours == pytest.approx(calculate_frechet_distance(*stats[0], *stats[1]), rel=1e-8)
    theirs = [{"mu": mu, "sigma": sigma} for mu, sigma in stats]
    key = torch_fidelity.metric_fid.KEY_METRIC_FID
    expected = torch_fidelity.metric_fid.fid_statistics_to_metric(*theirs, verbose=False)[key]
    assert ours == pytest.approx(expected, rel=1e-8)


class PassFeatures(torch.nn.Module):
    num_features = 48

    def forward(self, features: Tensor) -> Tensor:
        return features


@pytest.mark.parametrize("num_fake", [20, 200], ids=["fewer images than features", "more"])
@pytest.mark.parametrize("num_real", [30, 300], ids=["fewer real images", "more real images"])
def test_distance_is_torchmetrics(num_real: int, num_fake: int) -> None:
    real, fake = draw(num_real, 48, 1), draw(num_fake, 48, 2, spread=0.8)
    oracle = FrechetInceptionDistance(feature=PassFeatures(), normalize=False)
    oracle.update(torch.from_numpy(real), real=True)
    oracle.update(torch.from_numpy(fake), real=False)
    for with_features in (False, True):  # factor from a singular covariance, and from the features
        ours = estimate(reference_of(real, with_features=with_features), fake)["fid"].value
        assert ours == pytest.approx(float(oracle.compute()), rel=2e-5)


def test_small_sets_and_the_mini_worlds_distance_agree() -> None:
    real, fake = draw(60, 48, 1), draw(40, 48, 2, spread=0.8)
    small = SmallReference.of(torch.from_numpy(real))
    ours = estimate(reference_of(real), fake)["fid"].value
    assert ours == pytest.approx(small_distance(small, small.sample(torch.from_numpy(fake))), rel=1e-8)


def test_features_and_moments_answer_alike() -> None:
    gaussian = Gaussian.of(reference_of(draw(200, 24, 1)))
    parts = [torch.from_numpy(draw(n, 24, seed)).double() for seed, n in enumerate((1, 30, 17))]
    added = [reduce(add, (kind.of(part, gaussian.factor) for part in parts)) for kind in (Moments, Rows)]
    moment_sum, whole = added[0], torch.cat(parts)
    assert frechet_distance(gaussian, moment_sum) == pytest.approx(frechet_distance(gaussian, added[1]), rel=1e-9)
    covariance = gaussian.factor.T @ whole.T.cov() @ gaussian.factor
    torch.testing.assert_close(moment_sum.scatter / (len(whole) - 1), covariance)
    assert moment_sum.trace() == pytest.approx(float(whole.T.cov().trace()), rel=1e-9)
    torch.testing.assert_close(moment_sum.mean, whole.mean(0))


def test_overlap_is_the_trace_of_the_matrix_root() -> None:
    features, other = draw(60, 8, 1).astype(np.float64), np.cov(draw(60, 8, 2, spread=2).T)
    expected = np.trace(scipy.linalg.sqrtm(np.cov(features.T) @ other)).real
    factor = covariance_factor(torch.from_numpy(other))
    for kind in (Moments, Rows):
        assert kind.of(torch.from_numpy(features), factor).overlap() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [30, 400], ids=["features kept", "moments kept"])
def test_cuts_and_order_do_not_matter(n: int) -> None:
    reference, features = reference_of(draw(300, 40, 1)), draw(n, 40, 2)
    expected = estimate(reference, features)
    assert set(expected) == {"fid", "fid_inf"}
    order = np.random.default_rng(0).permutation(n)
    shuffled = estimate(reference, features[order], ids=[f"image {index}" for index in order])
    for other in (estimate(reference, features, cuts=range(1, n)), estimate(reference, features, cuts=[7]), shuffled):
        for key, value in expected.items():
            assert other[key].n == n
            assert other[key].value == pytest.approx(value.value, rel=1e-7)
            assert other[key].ci_low == pytest.approx(value.ci_low, rel=1e-6)


def test_chunks_of_a_cell_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, features = reference_of(draw(300, 16, 1)), draw(500, 16, 2)
    expected = estimate(reference, features)["fid_inf"]
    monkeypatch.setattr("repro.metrics.frechet.CHUNK", 3)
    assert estimate(reference, features, cuts=range(10, 500, 10))["fid_inf"].value == pytest.approx(expected.value)


def test_cells_are_even_and_follow_ids_alone() -> None:
    prompts = [{"id": str(index)} for index in range(100)]
    cells = cells_of(prompts)
    assert sorted(np.bincount(cells)) == [8] * 8 + [9] * 4
    np.testing.assert_array_equal(cells_of(prompts[::-1]), cells[::-1])
    assert len(set(cells[:CELLS])) < CELLS  # neighbours in the set are not dealt in turn
    np.testing.assert_array_equal(cells_of([{}] * 100), cells)


def test_infinity_is_the_intercept_through_whole_halves_and_thirds() -> None:
    reference, features = reference_of(draw(300, 6, 1)), draw(240, 6, 2)
    ours = estimate(reference, features)["fid_inf"].value
    cells, gaussian = cells_of(measured(features).prompts), Gaussian.of(reference)

    def mean_distance(parts: int) -> float:
        members = [np.isin(cells, range(p * CELLS // parts, (p + 1) * CELLS // parts)) for p in range(parts)]
        return float(
            np.mean(
                [
                    frechet_distance(gaussian, Rows.of(torch.from_numpy(features[m]).double(), gaussian.factor))
                    for m in members
                ]
            )
        )

    line = np.polyfit([1 / 240, 1 / 120, 1 / 80], [mean_distance(parts) for parts in (1, 2, 3)], 1)
    assert ours == pytest.approx(line[1], rel=1e-9)


def test_interval_has_the_width_of_the_scatter_and_infinity_little_bias() -> None:
    """200 sets of N(0, 1) against N(1/2, 2), where the truth is known: FID has a bias like 1/N, its limit little."""
    reference = Reference(np.full(6, 0.5), 2 * np.eye(6), None, None, "0" * 64, None)
    truth = 6 * 0.25 + 6 * (2**0.5 - 1) ** 2
    samples = (np.random.default_rng(seed).standard_normal((240, 6)).astype(np.float32) for seed in range(200))
    found = [estimate(reference, sample) for sample in samples]
    for key in ("fid", "fid_inf"):
        values = np.array([each[key].value for each in found])
        errors = np.array([(each[key].ci_high - each[key].value) / 2.201 for each in found])  # t of 11 degrees
        assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(ddof=1), rel=0.2)
        covered = [each[key].ci_low < values.mean() < each[key].ci_high for each in found]
        assert 0.88 < np.mean(covered) < 0.995
    finite, unbiased = (np.mean([each[key].value for each in found]) - truth for key in ("fid", "fid_inf"))
    assert finite > 0.02
    assert abs(unbiased) < 0.5 * finite


@pytest.mark.parametrize(
    ("n", "keys", "bounded"), [(2, {"fid"}, False), (4, {"fid"}, True), (24, {"fid", "fid_inf"}, True)]
)
def test_few_images_leave_out_what_they_cannot_carry(n: int, keys: set[str], bounded: bool) -> None:
    estimates = estimate(reference_of(draw(300, 6, 1)), draw(n, 6, 2))
    assert set(estimates) == keys
    assert (estimates["fid"].ci_low is not None) == bounded
    assert estimates["fid"].n == n


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_has_no_covariance(n: int) -> None:
    with pytest.raises(ValueError, match=f"fid needs at least 2 images, got {n}"):
        estimate(reference_of(draw(300, 6, 1)), draw(n, 6, 2))


def test_fewer_images_than_dimensions_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="repro.metrics.frechet"):
        found = estimate(reference_of(draw(300, 40, 1)), draw(30, 40, 2))
    told = "30 images for 40 features: the covariance has rank 29 at most"
    assert told in caplog.text
    assert all(value.note.startswith(told) for value in found.values())
    assert {value.note for value in estimate(reference_of(draw(300, 6, 1)), draw(30, 6, 2)).values()} == {""}
    assert few_images(41, 40) is None


def test_features_that_do_not_fit_are_refused() -> None:
    reference = reference_of(draw(300, 6, 1))
    with pytest.raises(ValueError, match=r"features of shape \(10, 5\), the reference has 6 dimensions"):
        estimate(reference, draw(10, 5, 2))
    broken = draw(10, 6, 2)
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 10 features are not finite"):
        estimate(reference, broken)
    with pytest.raises(ValueError, match="9 features for 10 images"):
        collect([draw(9, 6, 2)], cells_of([{}] * 10), torch.eye(6, dtype=torch.float64))


def test_a_matrix_that_is_no_covariance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sigma is no covariance: it has the eigenvalue -1, the largest is 2"):
        covariance_factor(torch.diag(torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64)))


def test_inputs_name_the_reference(tmp_path: Path) -> None:
    inputs = Fid(reference_of(draw(300, 6, 1))).inputs()
    assert inputs["reference"] == {"sha256": "0" * 64, "images": 300, "recipe_known": False}
