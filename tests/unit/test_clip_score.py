import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from repro.metrics.base import WeightsError, evaluate
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
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in CAPTIONS]


def test_score_is_the_cosine_of_image_and_caption(folder: Path, images: list[Image.Image]) -> None:
    model = open_clip.create_model(f"local-dir:{folder}").eval().double()
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    expected = []
    with torch.no_grad():
        for image, caption in zip(images, CAPTIONS, strict=True):
            levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            seen = model.encode_image(((levels.double() / 255 - mean) / std)[None])[0]
            said = model.encode_text(open_clip.SimpleTokenizer(context_length=16)([caption]))[0]
            expected.append(float(seen @ said / seen.norm() / said.norm()))
    np.testing.assert_allclose(ClipScore(folder).measure(images, PROMPTS)["mini_clip"], expected, atol=1e-5)


def test_batches_do_not_matter(folder: Path, images: list[Image.Image]) -> None:
    metric = ClipScore(folder)
    whole = evaluate([(images, PROMPTS)], [metric])
    parts = evaluate([(images[i : i + 2], PROMPTS[i : i + 2]) for i in range(0, 5, 2)], [metric])
    np.testing.assert_allclose(parts.per_image["mini_clip"], whole.per_image["mini_clip"], atol=1e-6)
    assert parts.values["mini_clip"].value == pytest.approx(whole.values["mini_clip"].value, abs=1e-6)
    assert parts.values["mini_clip"].n == 5


def test_each_distinct_caption_is_encoded_once(
    folder: Path, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = ClipScore(folder)
    encoded = 0
    encode_text = metric._model.encode_text

    def count(tokens: Tensor) -> Tensor:
        nonlocal encoded
        encoded += len(tokens)
        return encode_text(tokens)

    monkeypatch.setattr(metric._model, "encode_text", count)
    for _ in range(2):
        metric.measure(images[:3], PROMPTS[:3])
        metric.measure(images[3:], PROMPTS[3:])
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
