import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from repro.metrics.base import WeightsError
from repro.metrics.clip_score import ClipScore

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
CAPTIONS = ["a red star", "two blue circles", "a red star", "a green cross", "a red star"]
PROMPTS = [{"caption": caption} for caption in CAPTIONS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    model = open_clip.model.CLIP(
        CONFIG["embed_dim"],
        open_clip.CLIPVisionCfg(**CONFIG["vision_cfg"]),
        open_clip.CLIPTextCfg(**CONFIG["text_cfg"]),
    )
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    return folder


@pytest.fixture
def images() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (5, 3, 32, 32), generator=rng, dtype=torch.uint8)


def test_score_is_the_cosine_of_image_and_caption(folder: Path, images: Tensor) -> None:
    model = open_clip.create_model(f"local-dir:{folder}").eval().double()
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    expected = []
    with torch.no_grad():
        for image, caption in zip(images, CAPTIONS, strict=True):
            seen = model.encode_image(((image.double() / 255 - mean) / std)[None])[0]
            said = model.encode_text(open_clip.SimpleTokenizer(context_length=16)([caption]))[0]
            expected.append(float(seen @ said / seen.norm() / said.norm()))
    np.testing.assert_allclose(ClipScore(folder).update(images, PROMPTS), expected, atol=1e-5)


def test_batches_do_not_matter(folder: Path, images: Tensor) -> None:
    metric = ClipScore(folder)
    whole = metric.update(images, PROMPTS)
    together = metric.compute()["mini_clip"]
    metric.reset()
    parts = [metric.update(images[i : i + 2], PROMPTS[i : i + 2]) for i in range(0, 5, 2)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    assert metric.compute()["mini_clip"].value == pytest.approx(together.value, abs=1e-6)
    assert together.n == 5


def test_each_distinct_caption_is_encoded_once(folder: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = ClipScore(folder)
    encoded = 0
    encode_text = metric._model.encode_text

    def count(tokens: Tensor) -> Tensor:
        nonlocal encoded
        encoded += len(tokens)
        return encode_text(tokens)

    monkeypatch.setattr(metric._model, "encode_text", count)
    for _ in range(2):
        metric.reset()
        metric.update(images[:3], PROMPTS[:3])
        metric.update(images[3:], PROMPTS[3:])
    assert encoded == len(set(CAPTIONS))


def copy_of(folder: Path, target: Path) -> Path:
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_bad_files_are_errors(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    broken = copy_of(folder, tmp_path) / name
    if damage == "missing":
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"CLIP (model|weights) in"):
        ClipScore(tmp_path)


def test_weights_of_another_model_are_an_error(folder: Path, tmp_path: Path) -> None:
    other = {**CONFIG, "embed_dim": 4}
    (copy_of(folder, tmp_path) / "open_clip_config.json").write_text(json.dumps({"model_cfg": other}))
    with pytest.raises(WeightsError, match="size mismatch"):
        ClipScore(tmp_path)
