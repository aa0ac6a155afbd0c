from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from skimage import data
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from repro.metrics.base import Estimate, MemoryMeasured, WeightsError, evaluate, pictures, t_quantile
from repro.metrics.fid import (
    EfficientNetLite0,
    FrechetDistance,
    Reference,
    Sample,
    extract_features,
    frechet_distance,
    frechet_infinity,
    jackknife,
    packaged_weights,
    read_weights,
)
from repro.metrics.jackknife import groups_of_captions
from repro.metrics.jackknife import jackknife as jackknifed


class RandomFeatures(nn.Module):
    """12 fixed random features of 8x8 images; features pass, as in EfficientNetLite0."""

    num_features = 12

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(3 * 8 * 8, 12, generator=torch.Generator().manual_seed(0)) / 500

    def forward(self, images: Tensor) -> Tensor:
        return images if images.ndim == 2 else (images.float().flatten(1) @ self.weight).sin()


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return EfficientNetLite0()


def gaussian(n: int, dim: int, seed: int) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class AnySize(RandomFeatures):
    """The same features of images of any size."""

    def forward(self, images: Tensor) -> Tensor:
        return images if images.ndim == 2 else super().forward(images[..., :8, :8])


def scored(metric: FrechetDistance, images: Tensor) -> dict[str, Estimate]:
    return evaluate([(pictures(images), [{}] * len(images))], [metric]).values


def distance(real: Tensor, fake: Tensor) -> float:
    reference = Reference.of(real)
    return frechet_distance(reference, reference.sample(fake))


def random_images(n: int, side: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), generator=rng, dtype=torch.uint8)


def with_moments(n: int, mean: Tensor, variances: Tensor, seed: int) -> Tensor:
    """Features whose sample mean and sample covariance are exactly these."""
    raw = gaussian(n, len(mean), seed)
    centred = raw - raw.mean(0)
    white = centred @ torch.linalg.inv(torch.linalg.cholesky(centred.T.cov())).T
    return white * variances.sqrt() + mean


@pytest.mark.parametrize("num_fake", [9, 40], ids=["fewer images than features", "more"])
def test_distance_equals_scipy_matrix_square_root(num_fake: int) -> None:
    real, fake = gaussian(50, 12, 1) @ gaussian(12, 12, 2), 0.7 * gaussian(num_fake, 12, 3) + 0.5
    cov_real, cov_fake = np.cov(real.numpy().T), np.cov(fake.numpy().T)
    root = scipy.linalg.sqrtm(cov_real)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root.real @ cov_fake @ root.real), 0, None)).sum()
    if num_fake > 12:  # sqrtm of the singular product is the textbook form, where it is defined
        cross = np.trace(scipy.linalg.sqrtm(cov_real @ cov_fake).real)
    shift = np.square(real.numpy().mean(0) - fake.numpy().mean(0)).sum()
    expected = shift + np.trace(cov_real) + np.trace(cov_fake) - 2 * cross
    assert distance(real, fake) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num_fake", [9, 40])
def test_metric_and_gram_form_equal_torchmetrics_on_images(num_fake: int) -> None:
    extractor, real, fake = RandomFeatures(), random_images(30, 8, 1), random_images(num_fake, 8, 2)
    oracle = FrechetInceptionDistance(feature=extractor, normalize=False)
    oracle.update(real, real=True)
    oracle.update(fake, real=False)
    metric = FrechetDistance(extractor, extract_features([real], extractor))
    assert scored(metric, fake)["fid_e"].value == pytest.approx(float(oracle.compute()), rel=1e-6)
    gram_form = distance(extractor(real), extractor(fake))
    assert gram_form == pytest.approx(float(oracle.compute()), rel=1e-4)


def test_closed_form_of_diagonal_gaussians() -> None:
    mean_a, mean_b = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 0.0])
    var_a, var_b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    real, fake = with_moments(30, mean_a, var_a, 1), with_moments(20, mean_b, var_b, 2)
    expected = (1 + 4) + ((1 - 2) ** 2 + 0 + (3 - 1) ** 2)
    assert distance(real, fake) == pytest.approx(expected, rel=1e-5)


def test_distance_to_itself_is_zero() -> None:
    features = gaussian(64, 16, 0)
    assert distance(features, features) == pytest.approx(0, abs=1e-6)


def test_infinity_removes_most_of_the_bias_of_few_images() -> None:
    """Against exact unit moments the distance of N(0, 1) samples has the limit 0, and a bias like 1/N.

    One limit scatters by 0.026, so the mean of 200 by 0.002; the bound is 0.01.
    """
    reference = Reference.of(with_moments(100, torch.zeros(6), torch.ones(6), 0))
    samples = [reference.sample(gaussian(240, 6, seed)) for seed in range(200)]
    finite = np.mean([frechet_distance(reference, sample) for sample in samples])
    limit = np.mean([frechet_infinity(reference, sample) for sample in samples])
    assert finite > 0.05
    assert abs(limit) < 0.15 * finite


def test_jackknife_of_a_mean_is_the_error_of_block_means() -> None:
    features = gaussian(200, 1, 5)
    sample = Sample(features, features)
    estimate = jackknife(sample, lambda kept: float(kept.features.mean()), float(features.mean()))
    block_means = features.view(10, 20).mean(0)  # image i is in block i % 20
    half = t_quantile(19) * float(block_means.std()) / 20**0.5
    assert estimate.ci_high - estimate.value == pytest.approx(half)
    assert estimate.value - estimate.ci_low == pytest.approx(half)
    assert len(estimate.replicates) == 20  # so that two sets can be compared, pair by pair
    assert estimate.replicates[3] == pytest.approx((float(features.sum()) - 10 * float(block_means[3])) / 190)


@pytest.mark.parametrize(("n", "keys", "bounded"), [(3, {"fid_e"}, False), (16, {"fid_e", "fid_e_inf"}, True)])
def test_few_images_leave_out_what_they_cannot_carry(n: int, keys: set[str], bounded: bool) -> None:
    metric = FrechetDistance(RandomFeatures(), gaussian(20, 12, 0).float())
    estimates = scored(metric, random_images(n, 8, 1))
    assert set(estimates) == keys
    assert (estimates["fid_e"].ci_low is not None) == bounded
    assert estimates["fid_e"].n == n


def test_images_of_a_caption_are_left_out_together() -> None:
    """The interval is that of sets without each group of captions, measured from nothing."""
    captions = [f"caption {index // 2 % 30}" for index in range(90)]
    images, metric = random_images(90, 8, 1), FrechetDistance(RandomFeatures(), gaussian(40, 12, 0).float())
    found = evaluate([(pictures(images), [{"caption": caption} for caption in captions])], [metric]).values["fid_e"]
    groups, features = groups_of_captions(captions), RandomFeatures()(images)
    reference = Reference.of(gaussian(40, 12, 0).float())
    kept = [reference.sample(features[torch.from_numpy(groups != group)]) for group in range(20)]
    expected = jackknifed(found.value, [frechet_distance(reference, sample) for sample in kept], 90)
    assert found.ci_high == pytest.approx(expected.ci_high, rel=1e-4)
    assert found.ci_low == pytest.approx(expected.ci_low, rel=1e-4)


def test_images_of_different_sizes_and_other_batches_give_the_same() -> None:
    metric = FrechetDistance(AnySize(), gaussian(20, 12, 0).float())
    images = [*pictures(random_images(10, 8, 1)), *pictures(random_images(10, 9, 2))]
    whole = evaluate([(images, [{}] * 20)], [metric]).values
    cut = evaluate([(images[:3], [{}] * 3), (images[3:], [{}] * 17)], [metric]).values
    for key, estimate in whole.items():
        assert cut[key].value == pytest.approx(estimate.value, rel=1e-6)
    assert evaluate([(images[::-1], [{}] * 20)], [metric]).values["fid_e"] != whole["fid_e"]  # not the same blocks


def test_the_reference_is_among_the_inputs() -> None:
    first, same, other = (FrechetDistance(RandomFeatures(), gaussian(20, 12, seed).float()) for seed in (0, 0, 1))
    assert first.inputs() == same.inputs()
    assert first.inputs() != other.inputs()


def test_no_images_is_an_error() -> None:
    metric = FrechetDistance(RandomFeatures(), gaussian(20, 12, 0).float())
    with pytest.raises(ValueError, match="at least 2 images, got 0"):
        metric.estimates(MemoryMeasured([], {}))


def test_network_recognises_photographs(network: EfficientNetLite0) -> None:
    """Weights in timm's order, pixels in the range they want: else no cat would come out."""
    weights = read_weights(packaged_weights())
    cat, coffee = (torch.from_numpy(picture).permute(2, 0, 1) for picture in (data.chelsea(), data.coffee()))
    photos = [cat[None, :, :300, 76:376], coffee[None, :, :, 100:500]]
    logits = [network(photo) @ weights["_fc.weight"].T + weights["_fc.bias"] for photo in photos]
    assert int(logits[0].argmax()) in {281, 282, 285}  # tabby, tiger cat, Egyptian cat
    assert int(logits[1].argmax()) in {504, 967, 968}  # coffee mug, espresso, cup


def test_features_do_not_depend_on_the_batch(network: EfficientNetLite0) -> None:
    images = random_images(5, 64, 0)
    alone = torch.cat([network(images[i : i + 1]) for i in range(5)])
    network.train()  # must not switch to batch statistics
    torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_bad_weight_files_are_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if damage == "truncated":
        path.write_bytes(packaged_weights().read_bytes()[:1000])
    if damage == "other":
        torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"not found.*weights\.pth|weights\.pth is truncated or another file"):
        EfficientNetLite0(path)
