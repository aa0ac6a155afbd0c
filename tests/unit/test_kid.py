import numpy as np
import pytest
import torch
import torch_fidelity.metric_kid
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from repro.metrics.base import MemoryMeasured
from repro.metrics.kid import Kid
from repro.metrics.reference import Reference, moments

NAME = "fid.features"


def draw(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, 8)) + shift).astype(np.float32)


def reference_of(features: np.ndarray) -> Reference:
    return Reference(*moments(features), len(features), features, "0" * 64, None)


def measured(features: np.ndarray, batch: int = 64) -> MemoryMeasured:
    parts = [features[start : start + batch] for start in range(0, len(features), batch)]
    return MemoryMeasured([{"id": str(index)} for index in range(len(features))], {NAME: parts})


class PassFeatures(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features


def test_value_is_torchmetrics_with_its_subsets() -> None:
    real, fake = draw(300, 1), draw(250, 2, shift=0.3)
    ours = Kid(reference_of(real), subsets=20, size=100, seed=5).estimates(measured(fake), NAME)["kid"]
    oracle = KernelInceptionDistance(feature=PassFeatures(), subsets=20, subset_size=100)
    oracle.update(torch.from_numpy(real).double(), real=True)
    oracle.update(torch.from_numpy(fake).double(), real=False)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        mean, _ = oracle.compute()
    assert ours.value == pytest.approx(float(mean), rel=1e-10)
    assert ours.n == 250


def test_whole_sets_are_torch_fidelitys() -> None:
    real, fake = draw(80, 1), draw(80, 2, shift=0.3)
    ours = Kid(reference_of(real), subsets=1).estimates(measured(fake), NAME)["kid"]
    theirs = torch_fidelity.metric_kid.kid_features_to_metric(
        torch.from_numpy(real).double(), torch.from_numpy(fake).double(), kid_subsets=1, kid_subset_size=80
    )
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)
    assert ours.ci_low is None  # one subset


def test_estimator_is_the_written_out_sum_over_pairs() -> None:
    real, fake = draw(7, 1).astype(np.float64), draw(7, 2).astype(np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 8 + 1) ** 3)

    def own(rows: np.ndarray) -> float:
        return sum(kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j) / (7 * 6)

    expected = own(real) + own(fake) - 2 * np.mean([kernel(x, y) for x in real for y in fake])
    ours = Kid(reference_of(real.astype(np.float32)), subsets=3).estimates(measured(fake.astype(np.float32)), NAME)
    assert ours["kid"].value == pytest.approx(expected, rel=1e-6)


def test_batches_do_not_matter() -> None:
    kid, fake = Kid(reference_of(draw(300, 1)), subsets=19, size=50), draw(250, 2)
    one, other = (kid.estimates(measured(fake, batch), NAME)["kid"] for batch in (1, 250))
    assert one.value == pytest.approx(other.value, rel=1e-12)
    assert one.ci_low == pytest.approx(other.ci_low, rel=1e-9)


def test_no_bias_and_the_interval_is_as_wide_as_the_scatter() -> None:
    """100 pairs of sets, a shift apart; the expected value is that of sets of 50,000."""
    found = []
    for seed in range(100):
        kid = Kid(reference_of(draw(400, seed)), subsets=40, size=50)
        found.append(kid.estimates(measured(draw(400, 1000 + seed, shift=0.3), 400), NAME)["kid"])
    values = np.array([each.value for each in found])
    halves = np.array([(each.ci_high - each.ci_low) / 2 for each in found]) / 2.365  # t of 7 degrees
    assert np.sqrt(np.mean(halves**2)) == pytest.approx(values.std(ddof=1), rel=0.35)
    big = Kid(reference_of(draw(20_000, 5)), subsets=20, size=1000)
    truth = big.estimates(measured(draw(20_000, 6, shift=0.3)), NAME)["kid"]
    assert values.mean() == pytest.approx(truth.value, abs=4 * values.std() / 10 + (truth.ci_high - truth.value))


@pytest.mark.parametrize(("num_real", "num_fake"), [(1, 30), (30, 1), (30, 0)])
def test_one_image_is_refused(num_real: int, num_fake: int) -> None:
    reference = Reference(np.zeros(8), np.eye(8), num_real, draw(num_real, 1), "0" * 64, None)
    with pytest.raises(ValueError, match=f"at least 2 images on each side, got {num_fake} and {num_real} real"):
        Kid(reference).estimates(measured(draw(num_fake, 2)), NAME)


def test_broken_settings_and_features_are_refused() -> None:
    reference = reference_of(draw(30, 1))
    with pytest.raises(ValueError, match="at least 1 subset of 2 images, got 0 of 1000"):
        Kid(reference, subsets=0)
    broken = draw(30, 2)
    broken[4] = np.inf
    with pytest.raises(ValueError, match="1 of 30 features are not finite"):
        Kid(reference).estimates(measured(broken), NAME)


def test_inputs_name_subsets_and_reference() -> None:
    inputs = Kid(reference_of(draw(30, 1)), size=20).inputs()
    assert (inputs["subsets"], inputs["size"], inputs["seed"]) == (100, 20, 0)
    assert inputs["reference"]["images"] == 30
