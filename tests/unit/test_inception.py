from collections.abc import Iterator
from pathlib import Path

import cleanfid.inception_pytorch
import cleanfid.resize
import numpy as np
import pytest
import pytorch_fid.inception
import safetensors.torch
import torch
from inception_file import inception_state, write_inception
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.image.fid import NoTrainInceptionV3
from torchvision import transforms

from repro.metrics.base import WeightsError
from repro.metrics.inception import InceptionFeatures, recipe_named
from repro.metrics.reference import ReferenceFileError, build_reference, load_reference


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = write_inception(tmp_path_factory.mktemp("inception") / "inception.pth")
    yield path
    path.unlink()  # 95 MB


def photographs() -> list[Image.Image]:
    """Three sizes: larger than 299, a square one, and smaller than 299."""
    return [
        Image.fromarray(data.chelsea()),
        Image.fromarray(data.astronaut()),
        Image.fromarray(data.coffee()).resize((96, 64)),
    ]


def tensor(image: Image.Image) -> Tensor:
    return transforms.functional.pil_to_tensor(image)[None]


def by_pytorch_fid(weights: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    state = torch.load(weights, weights_only=True)
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: state)
    return pytorch_fid.inception.InceptionV3([3]).eval()


@torch.no_grad()
def test_pytorch_fid_is_that_package(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = by_pytorch_fid(weights, monkeypatch)
    features = InceptionFeatures(weights, recipe="pytorch-fid")
    for image in photographs():
        expected = network(tensor(image) / 255)[0].flatten(1)
        np.testing.assert_allclose(features([image]), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@torch.no_grad()
def test_swd_is_the_official_transform_before_pytorch_fid(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the authors' evaluation does to a square image: PIL to 512, Lanczos to 256, crop, ToTensor, InceptionV3."""
    official = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.LANCZOS),
            transforms.CenterCrop(256),
            transforms.ToTensor(),
        ]
    )
    network = by_pytorch_fid(weights, monkeypatch)
    features = InceptionFeatures(weights)
    assert features.recipe.name == "swd"
    square = photographs()[1]
    for image in (square, square.resize((1024, 1024)), square.resize((96, 96))):
        expected = network(official(image.resize((512, 512)))[None])[0].flatten(1)
        np.testing.assert_allclose(features([image]), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@torch.no_grad()
def test_clean_fid_is_that_package(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its resizing to the last bit; its network is TorchScript that cannot be had here, so ours stands behind both."""
    resizer = cleanfid.resize.build_resizer("clean")
    for image in photographs():
        expected = torch.from_numpy(resizer(np.array(image))).permute(2, 0, 1)
        torch.testing.assert_close(recipe_named("clean-fid")(image), (expected - 128) / 128, rtol=0, atol=0)
    state = torch.load(weights, weights_only=True)
    monkeypatch.setattr(cleanfid.inception_pytorch, "load_state_dict_from_url", lambda *_, **__: state)
    network = cleanfid.inception_pytorch.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    expected = network((expected[None] - 128) / 128)[0].flatten(1)
    features = InceptionFeatures(weights, recipe="clean-fid")([image])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("antialias", [True, False], ids=["torchmetrics", "torch-fidelity"])
@torch.no_grad()
def test_torchmetrics_and_torch_fidelity_are_those_packages(
    weights: Path, monkeypatch: pytest.MonkeyPatch, antialias: bool
) -> None:
    if antialias:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
    else:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights))
    features = InceptionFeatures(weights, recipe="torchmetrics" if antialias else "torch-fidelity")
    for image in photographs():
        output = network(tensor(image))
        expected = output if antialias else output[0]
        np.testing.assert_allclose(features([image]), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_recipes_differ_where_an_image_shrinks() -> None:
    """Else the parity tests above could not tell them apart."""
    image = photographs()[0]
    names = ["swd", "pytorch-fid", "clean-fid", "torchmetrics", "torch-fidelity"]
    pixels = [recipe_named(name)(image) for name in names]
    for i, one in enumerate(pixels):
        for other in pixels[:i]:
            assert float((one - other).abs().mean()) > 0.005


def test_batches_and_order_do_not_matter(weights: Path) -> None:
    features = InceptionFeatures(weights)
    images = photographs()
    alone = np.concatenate([features([image]) for image in images])
    np.testing.assert_allclose(features(images), alone, rtol=1e-4, atol=1e-4 * float(alone.std()))
    np.testing.assert_allclose(features(images[::-1]), alone[::-1], rtol=1e-4, atol=1e-4 * float(alone.std()))
    assert float(np.abs(alone[0] - alone[1]).max()) > float(alone.std())


def test_safetensors_hold_the_same(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "inception.safetensors"
    safetensors.torch.save_file(inception_state(), path)
    image = photographs()[2]
    one, other = InceptionFeatures(weights), InceptionFeatures(path)
    np.testing.assert_array_equal(one([image]), other([image]))
    assert one.inputs()["weights_sha256"] != other.inputs()["weights_sha256"]


def test_inputs_tell_recipe_and_file(weights: Path) -> None:
    inputs = InceptionFeatures(weights, recipe="clean-fid").inputs()
    assert inputs["recipe"]["name"] == "clean-fid"
    assert inputs["published_weights"] is False
    assert len(inputs["weights_sha256"]) == 64


def test_statistics_of_another_recipe_or_file_are_refused(weights: Path, tmp_path: Path) -> None:
    path, images = tmp_path / "reference.npz", photographs()
    made = InceptionFeatures(weights, recipe="clean-fid")
    reference = build_reference([images[:2], images[2:]], made, path)
    np.testing.assert_allclose(reference.mean, made(images).mean(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ReferenceFileError, match=r"made with recipe\.name 'clean-fid', images with 'swd'"):
        load_reference(path, InceptionFeatures(weights))
    made._sha256 = "f" * 64
    with pytest.raises(ReferenceFileError, match=r"made with weights_sha256 '\w+', images with 'ffff"):
        load_reference(path, made)


def truncated(path: Path) -> None:
    torch.save(inception_state(), path)
    path.write_bytes(path.read_bytes()[:1000])


def pickled_code(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def a_list(path: Path) -> None:
    torch.save([torch.zeros(2)], path)


def torchvision_layout(path: Path) -> None:
    state = inception_state()
    del state["Mixed_5b.branch1x1.conv.weight"]
    torch.save(state, path)


def extra_tensors(path: Path) -> None:
    torch.save(inception_state() | {"AuxLogits.fc.weight": torch.zeros(1000, 768)}, path)


def thousand_classes(path: Path) -> None:
    torch.save(inception_state() | {"fc.weight": torch.zeros(1000, 2048)}, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (Path.touch, "cannot read Inception weights"),
        (truncated, "cannot read Inception weights"),
        (pickled_code, "cannot read Inception weights"),
        (a_list, "no state dict of tensors, but list"),
        (torchvision_layout, r"misses 1 tensors, first Mixed_5b\.branch1x1\.conv\.weight"),
        (extra_tensors, r"does not expect 1 tensors, first AuxLogits\.fc\.weight"),
        (thousand_classes, r"fc\.weight has shape \(1000, 2048\), FID's Inception needs \(1008, 2048\)"),
    ],
)
def test_a_file_that_is_not_the_network_is_refused(write, message: str, tmp_path: Path) -> None:  # noqa: ANN001
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(WeightsError, match=message):
        InceptionFeatures(path)
    path.unlink()


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Inception weights at .*none\.pth.*fid_weights"):
        InceptionFeatures(tmp_path / "none.pth")


def test_an_unknown_recipe_is_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match=r"no FID recipe 'tf2', expected one of swd, pytorch-fid"):
        InceptionFeatures(weights, recipe="tf2")
