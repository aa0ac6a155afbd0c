import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_activation_statistics
from torch import Tensor, nn

from repro.metrics.reference import ReferenceFileError, build_reference, load_reference, moments


class ColourFeatures:
    """Five statistics of an image's colours."""

    name = "colours"
    dimensions = 5

    def __init__(self, recipe: str = "plain") -> None:
        self.recipe = recipe

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        pixels = [np.asarray(image, dtype=np.float32) / 255 for image in images]
        return np.array([[*p.mean((0, 1)), p.std(), p[0, 0, 0]] for p in pixels], dtype=np.float32)

    def inputs(self) -> dict[str, Any]:
        return {"network": self.name, "recipe": {"name": self.recipe}}


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(3)
    return [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(n)]


def batches(n: int, size: int) -> Iterator[list[Image.Image]]:
    images = pictures(n)
    return (images[start : start + size] for start in range(0, n, size))


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def sound() -> dict[str, np.ndarray]:
    return {"mu": np.arange(5.0), "sigma": np.eye(5)}


def test_moments_are_those_of_numpy_and_batches_do_not_matter(tmp_path: Path) -> None:
    features = ColourFeatures()
    one = build_reference(batches(37, 5), features, tmp_path / "one" / "reference.npz")
    other = build_reference(batches(37, 37), features, tmp_path / "other" / "reference.npz")
    rows = features(pictures(37)).astype(np.float64)
    np.testing.assert_allclose(one.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(one.covariance, np.cov(rows, rowvar=False), rtol=1e-10, atol=1e-15)
    np.testing.assert_array_equal(one.features, features(pictures(37)))
    assert one.count == 37
    np.testing.assert_array_equal(one.covariance, other.covariance)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "reference.f32",
        "reference.json",
        "reference.npz",
    ]


def test_blocks_of_rows_add_up() -> None:
    rows = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32) + 50
    for got, expected in zip(moments(rows, block=7), (rows.astype(np.float64).mean(0), np.cov(rows.T)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


class TorchColours(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        features = [*images.mean((2, 3)).T, images.std((1, 2, 3), correction=0), images[:, 0, 0, 0]]
        return [torch.stack(features, dim=1)[:, :, None, None]]


def test_what_pytorch_fid_writes_is_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.png" for index in range(20)]
    for image, file in zip(pictures(20), files, strict=True):
        image.save(file)
    mu, sigma = calculate_activation_statistics(files, TorchColours(), batch_size=7, dims=5, num_workers=0)
    np.savez_compressed(tmp_path / "theirs.npz", mu=mu, sigma=sigma)
    theirs = load_reference(tmp_path / "theirs.npz", ColourFeatures())
    ours = build_reference(batches(20, 20), ColourFeatures(), tmp_path / "reference.npz")
    np.testing.assert_allclose(theirs.mean, ours.mean, rtol=1e-5)
    np.testing.assert_allclose(theirs.covariance, ours.covariance, rtol=1e-4, atol=1e-8)
    assert theirs.inputs()["recipe_known"] is False
    assert ours.inputs()["recipe_known"] is True


def test_what_torch_fidelity_caches_is_read_without_unpickling(tmp_path: Path) -> None:
    torch.save(sound(), tmp_path / "stat.pt")
    np.testing.assert_array_equal(load_reference(tmp_path / "stat.pt", ColourFeatures()).covariance, np.eye(5))
    torch.save({**sound(), "model": nn.Linear(1, 1)}, tmp_path / "code.pt")
    with pytest.raises(ReferenceFileError, match="cannot read reference statistics"):
        load_reference(tmp_path / "code.pt", ColourFeatures())


def test_clean_fids_npz_of_features_lacks_moments(tmp_path: Path) -> None:
    path = npz(tmp_path / "kid.npz", feats=np.zeros((4, 5)))
    with pytest.raises(ReferenceFileError, match="has no 'mu', expected arrays mu and sigma"):
        load_reference(path, ColourFeatures())


def test_only_moments_carry_no_kid(tmp_path: Path) -> None:
    reference = load_reference(npz(tmp_path / "x.npz", **sound()), ColourFeatures())
    with pytest.raises(ReferenceFileError, match=r"kid compares features; the reference .* has only mu and sigma"):
        reference.needed_features("kid")


def asymmetric() -> np.ndarray:
    matrix = np.eye(5)
    matrix[0, 1] = 0.2
    return matrix


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mu": np.zeros(2048), "sigma": np.eye(2048)}, r"mu \(2048,\) and sigma \(2048, 2048\).*5 dimensions"),
        ({"sigma": np.eye(4)}, r"mu \(5,\) and sigma \(4, 4\)"),
        ({"mu": np.full(5, np.nan)}, "not finite"),
        ({"sigma": np.full((5, 5), np.inf)}, "not finite"),
        ({"sigma": asymmetric()}, r"not symmetric, \|S - S\^T\| reaches 0\.2"),
        ({"sigma": -np.eye(5)}, "negative variance, -1"),
        ({"mu": np.array(["a"] * 5)}, "cannot read reference statistics"),
        ({"mu": np.array([{}] * 5)}, "cannot read reference statistics.*allow_pickle"),
    ],
)
def test_broken_statistics_are_refused(changed: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", **(sound() | changed))
    with pytest.raises(ReferenceFileError, match=message):
        load_reference(path, ColourFeatures())


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReferenceFileError, match=r"no reference statistics at .*none\.npz"):
        load_reference(tmp_path / "none.npz", ColourFeatures())
    path = npz(tmp_path / "x.npz", **sound())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReferenceFileError, match="cannot read reference statistics"):
        load_reference(path, ColourFeatures())


def test_another_recipe_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    build_reference(batches(6, 6), ColourFeatures("clean-fid"), path)
    with pytest.raises(ReferenceFileError, match=r"made with recipe\.name 'clean-fid', images with 'swd'"):
        load_reference(path, ColourFeatures("swd"))


def test_a_half_replaced_reference_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    build_reference(batches(6, 6), ColourFeatures(), path)
    rows = path.with_suffix(".f32")
    content = rows.read_bytes()
    rows.write_bytes(content[:-3])
    with pytest.raises(ReferenceFileError, match="truncated: 117 bytes"):
        load_reference(path, ColourFeatures())
    rows.write_bytes(content[:-20])
    with pytest.raises(ReferenceFileError, match="holds 5 features, 6 were written"):
        load_reference(path, ColourFeatures())
    npz(path, **sound())
    with pytest.raises(ReferenceFileError, match=r"was changed after reference\.json was written"):
        load_reference(path, ColourFeatures())
    path.with_suffix(".json").write_text(json.dumps({"count": 3}))
    with pytest.raises(ReferenceFileError, match=r"no record of reference statistics: only \['count'\]"):
        load_reference(path, ColourFeatures())


def test_nothing_is_left_of_a_reference_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ReferenceFileError, match="at least 2 images, got 1"):
        build_reference(batches(1, 1), ColourFeatures(), tmp_path / "reference.npz")
    assert not (tmp_path / "reference.npz").exists()
