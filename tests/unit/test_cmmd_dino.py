import json
from pathlib import Path

import metric_checkpoints
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor
from torch.nn.functional import gelu, interpolate, layer_norm, linear
from torchvision import transforms
from transformers import CLIPConfig, CLIPModel, Dinov2Model

from repro.metrics.base import MemoryMeasured, WeightsError
from repro.metrics.cmmd import ClipImageFeatures, Cmmd
from repro.metrics.dino import DinoFeatures
from repro.metrics.frechet import cells_of
from repro.metrics.jackknife import jackknife
from repro.metrics.reference import Reference, ReferenceFileError, moments

NAME = "cmmd.features"


def photographs() -> list[Image.Image]:
    return [Image.fromarray(data.chelsea()), Image.fromarray(data.astronaut()), Image.fromarray(data.rocket())]


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return metric_checkpoints.dino_folder(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP, as the published folder is; its image tower takes 42 pixels."""
    folder = tmp_path_factory.mktemp("clip")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 50, "max_position_embeddings": 8},
        vision_config={**tower, "image_size": 42, "patch_size": 14, "projection_dim": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    return folder


def hub_dino(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """DINOv2 as its authors' code runs it, written out; interpolate_offset is 0.1."""
    names = {name.removeprefix("dinov2."): value for name, value in state.items()}
    patches = torch.nn.functional.conv2d(
        pixels,
        names["embeddings.patch_embeddings.projection.weight"],
        names["embeddings.patch_embeddings.projection.bias"],
        stride=14,
    )
    x = torch.cat([names["embeddings.cls_token"].expand(len(pixels), -1, -1), patches.flatten(2).mT], 1)
    positions = names["embeddings.position_embeddings"]
    grid = positions[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    scale = (16 + 0.1) / 37
    grid = interpolate(grid, mode="bicubic", antialias=False, scale_factor=(scale, scale))
    assert grid.shape[-2:] == (16, 16)
    x = x + torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, 256, -1)], 1)
    for index in range(2):
        block = {n.split(".", 3)[-1]: v for n, v in names.items() if f"layer.{index}." in n}
        block = {n.removeprefix(f"{index}."): v for n, v in block.items()}
        y = layer_norm(x, (16,), block["norm1.weight"], block["norm1.bias"], 1e-6)
        qkv = [
            linear(y, block[f"attention.attention.{part}.weight"], block[f"attention.attention.{part}.bias"])
            for part in ("query", "key", "value")
        ]
        q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in qkv)
        y = ((q @ k.mT / 8**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        y = linear(y, block["attention.output.dense.weight"], block["attention.output.dense.bias"])
        x = x + block["layer_scale1.lambda1"] * y
        y = layer_norm(x, (16,), block["norm2.weight"], block["norm2.bias"], 1e-6)
        y = gelu(linear(y, block["mlp.fc1.weight"], block["mlp.fc1.bias"]))
        x = x + block["layer_scale2.lambda1"] * linear(y, block["mlp.fc2.weight"], block["mlp.fc2.bias"])
    return layer_norm(x, (16,), names["layernorm.weight"], names["layernorm.bias"], 1e-6)[:, 0]


@torch.no_grad()
def test_dino_is_dgm_eval_before_the_hubs_network(dino_folder: Path) -> None:
    recipe = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    state = load_file(dino_folder / "model.safetensors")
    expected = hub_dino(state, torch.stack([recipe(image) for image in photographs()]))
    features = DinoFeatures(str(dino_folder))
    np.testing.assert_allclose(features(photographs()), expected, rtol=1e-4, atol=1e-4)
    assert features.dimensions == 16
    plain = Dinov2Model.from_pretrained(dino_folder).eval()
    theirs = plain(torch.stack([recipe(image) for image in photographs()])).pooler_output
    assert float((theirs - expected).abs().max()) > 1e-3  # transformers fits positions otherwise


@torch.no_grad()
def test_clip_features_are_unit_embeddings_of_the_central_square(clip_folder: Path) -> None:
    model = CLIPModel.from_pretrained(clip_folder).eval()
    features = ClipImageFeatures(str(clip_folder))
    for image in photographs():
        array, short = np.asarray(image), min(image.size)
        top, left = ((length - short) // 2 for length in array.shape[:2])  # down, as in the published code
        square = Image.fromarray(array[top : top + short, left : left + short]).resize((42, 42), Image.BICUBIC)
        pixels = torch.from_numpy(np.asarray(square, dtype=np.float32) / 255)
        pixels = (pixels - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
            [0.26862954, 0.26130258, 0.27577711]
        )
        expected = model.visual_projection(model.vision_model(pixels.permute(2, 0, 1)[None]).pooler_output)
        expected = expected / expected.norm()
        np.testing.assert_allclose(features([image]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [DinoFeatures, ClipImageFeatures])
def test_an_image_alone_and_in_a_batch_is_one(kind: type, dino_folder: Path, clip_folder: Path) -> None:
    features = kind(str(dino_folder if kind is DinoFeatures else clip_folder))
    alone = np.concatenate([features([image]) for image in photographs()])
    np.testing.assert_allclose(features(photographs()), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [DinoFeatures, ClipImageFeatures])
def test_folders_of_other_or_torn_networks_are_refused(
    kind: type, dino_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    right, wrong = (dino_folder, clip_folder) if kind is DinoFeatures else (clip_folder, dino_folder)
    with pytest.raises(WeightsError, match=r"holds a model of type '(clip|dinov2)', expected '(clip|dinov2)'"):
        kind(str(wrong))
    with pytest.raises(WeightsError, match="no such file or folder"):
        kind(str(tmp_path / "none"))
    config = json.loads((right / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="missing in"):
        kind(str(tmp_path))
    state = load_file(right / "model.safetensors")
    lost = next(name for name in state if "layernorm.weight" in name and "text" not in name)
    save_file({name: value for name, value in state.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing keys, the first is .*layernorm\.weight"):
        kind(str(tmp_path))
    content = (right / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="truncated"):
        kind(str(tmp_path))


def test_inputs_hold_the_hashes(dino_folder: Path, clip_folder: Path) -> None:
    for features in (DinoFeatures(str(dino_folder)), ClipImageFeatures(str(clip_folder))):
        weights = features.inputs()["weights"]
        assert {"config.json", "model.safetensors"} == set(weights)
        assert all(len(digest) == 64 for digest in weights.values())


def unit(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, 12)) + shift
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def measured(features: np.ndarray, batch: int = 30) -> MemoryMeasured:
    parts = [features[start : start + batch] for start in range(0, len(features), batch)]
    return MemoryMeasured([{"id": str(index)} for index in range(len(features))], {NAME: parts})


def reference_of(features: np.ndarray) -> Reference:
    return Reference(*moments(features), len(features), features, "0" * 64, None)


def written_out(x: np.ndarray, y: np.ndarray) -> float:
    """The published formula over all pairs in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def mean_kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-np.square(a[:, None] - b[None]).sum(-1) / (2 * 10.0**2)).mean())

    return 1000 * (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y))


@pytest.mark.parametrize("chunk", [7, 64, 2048])
def test_cmmd_is_the_published_formula(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.metrics.cmmd.CHUNK", chunk)
    monkeypatch.setattr("repro.metrics.cmmd.rechunk.__defaults__", (chunk,))
    real, fake = unit(90, 1), unit(110, 2, shift=0.2)
    for batch in (1, 30, 110):
        found = Cmmd(reference_of(real)).estimates(measured(fake, batch), NAME)["cmmd"]
        assert found.value == pytest.approx(written_out(fake, real), rel=1e-4)
        assert found.n == 110


def test_cmmd_replicates_leave_out_images() -> None:
    """The jackknife from sums over groups is the one from scratch."""
    real, fake = unit(90, 1), unit(50, 2, shift=0.2)
    found = Cmmd(reference_of(real)).estimates(measured(fake), NAME)["cmmd"]
    cells = cells_of(measured(fake).prompts)
    expected = jackknife(written_out(fake, real), [written_out(fake[cells != cell], real) for cell in range(12)], 50)
    assert found.ci_low == pytest.approx(expected.ci_low, rel=1e-3)
    assert found.ci_high == pytest.approx(expected.ci_high, rel=1e-3)


def test_cmmd_of_a_set_with_itself_is_zero() -> None:
    rows = unit(60, 1)
    assert Cmmd(reference_of(rows)).estimates(measured(rows), NAME)["cmmd"].value == pytest.approx(0, abs=1e-4)


def test_cmmd_refuses_what_it_cannot_compare() -> None:
    reference = reference_of(unit(60, 1))
    with pytest.raises(ValueError, match="cmmd needs at least 2 images, got 1"):
        Cmmd(reference).estimates(measured(unit(1, 2)), NAME)
    with pytest.raises(ReferenceFileError, match="cmmd compares features"):
        Cmmd(Reference(reference.mean, reference.covariance, 60, None, "0" * 64, None))
    broken = unit(10, 2)
    broken[3] = np.nan
    with pytest.raises(ValueError, match="1 of 10 features are not finite"):
        Cmmd(reference).estimates(measured(broken), NAME)
