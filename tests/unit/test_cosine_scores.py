import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from metric_checkpoints import clip_folder, clip_model, open_clip_folder, photograph, pickscore_folder, processor_folder
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from repro.metrics import cosine
from repro.metrics.base import MemoryMeasured, WeightsError
from repro.metrics.clip_vit_h import clip_vit_h_score
from repro.metrics.cosine import CosineScore
from repro.metrics.pickscore import pick_score

CAPTIONS = ["a red star", "two blue circles, and a dog", "a red star", "ein Gr\u00fcner Kreis!", "star " * 100]
PROMPTS = [{"id": str(index), "caption": caption} for index, caption in enumerate(CAPTIONS)]
SIZES = [(32, 32), (48, 48), (64, 40), (40, 64), (32, 32)]


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [photograph(seed, size) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def pickscore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pickscore_folder(tmp_path_factory.mktemp("pickscore"))


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return processor_folder(tmp_path_factory.mktemp("processor"))


@pytest.fixture(params=["pickscore", "clip, transformers", "clip, open_clip"])
def metric(request: pytest.FixtureRequest, pickscore: Path, processor: Path, tmp_path: Path) -> CosineScore:
    match request.param:
        case "pickscore":
            return pick_score(str(pickscore), processor=str(processor))
        case "clip, transformers":
            return clip_vit_h_score(str(clip_folder(tmp_path)))
        case _:
            return clip_vit_h_score(str(open_clip_folder(tmp_path)))


def by_hand(image: Image.Image, tokens: list[int], *, seed: int) -> float:
    """The published recipe written out: resize the shorter side, cut out the centre, normalise, both towers, cosine."""
    side, (width, height) = 32, image.size
    scale = side / min(width, height)
    resized = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    pixels = torch.tensor(np.asarray(resized.crop((left, top, left + side, top + side)))).permute(2, 0, 1) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    model = clip_model(seed=seed)
    with torch.no_grad():
        seen = model.vision_model(((pixels - mean) / std)[None]).pooler_output @ model.visual_projection.weight.T
        hidden = model.text_model(torch.tensor([tokens])).last_hidden_state[0, -1]
        said = hidden @ model.text_projection.weight.T
    return float((seen[0] / seen.norm()) @ (said / said.norm()))


def test_pickscore_is_the_raw_cosine_of_its_recipe(
    pickscore: Path, processor: Path, pictures: Sequence[Image.Image]
) -> None:
    metric = pick_score(str(pickscore), processor=str(processor))
    red_star = [49406, *open_clip.SimpleTokenizer().encode("a red star"), 49407]
    prompts = [{"caption": "a red star"}] * len(pictures)
    expected = [by_hand(picture, red_star, seed=1) for picture in pictures]
    np.testing.assert_allclose(metric.measure(pictures, prompts)["pickscore"], expected, atol=1e-5)
    assert np.std(expected) > 0.01  # the pictures are told apart


def test_batches_do_not_matter(metric: CosineScore, pictures: Sequence[Image.Image]) -> None:
    whole = metric.measure(pictures, PROMPTS)
    metric._captions.clear()
    order = [3, 0, 4, 2, 1]
    parts = [metric.measure([pictures[i]], [PROMPTS[i]]) for i in order]
    for name, values in whole.items():
        np.testing.assert_allclose(np.concatenate([part[name] for part in parts]), values[order], atol=1e-6)
    assert np.ptp(whole[metric.key]) > 0.01


def test_long_captions_are_cut_and_counted(metric: CosineScore, pictures: Sequence[Image.Image]) -> None:
    found = metric.measure(pictures, PROMPTS)
    assert found[f"{metric.key}.cut"].tolist() == [False, False, False, False, True]
    longer = metric.measure(pictures[4:], [{"caption": CAPTIONS[4] + "of another kind"}])
    np.testing.assert_allclose(longer[metric.key], found[metric.key][4:], atol=1e-6)
    for words, cut in ((75, False), (76, True)):  # with its two ends, 77 and 78 tokens
        assert metric.measure(pictures[:1], [{"caption": "star " * words}])[f"{metric.key}.cut"].tolist() == [cut]


def test_estimates_are_mean_and_share(metric: CosineScore, pictures: Sequence[Image.Image]) -> None:
    found = metric.measure(pictures, PROMPTS)
    estimates = metric.estimates(MemoryMeasured(PROMPTS, {name: [values] for name, values in found.items()}))
    mean, scores = estimates[metric.key], found[metric.key].astype(float)
    assert mean.value == pytest.approx(scores.mean())
    half = 2.776445 * scores.std(ddof=1) / 5**0.5  # Student's t with 4 degrees of freedom
    assert (mean.n, mean.ci_high) == (5, pytest.approx(scores.mean() + half, abs=1e-6))
    assert estimates[f"{metric.key}_cut"].value == pytest.approx(0.2)


def test_a_caption_is_encoded_once(
    metric: CosineScore, pictures: Sequence[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = metric._towers.encode_captions

    def count(captions: Sequence[str]) -> Tensor:
        encoded.extend(captions)
        return encode(captions)

    monkeypatch.setattr(metric._towers, "encode_captions", count)
    for _ in range(2):
        metric.measure(pictures[:3], PROMPTS[:3])
        metric.measure(pictures[3:], PROMPTS[3:])
    assert sorted(encoded) == sorted(set(CAPTIONS))


def test_the_memory_of_captions_is_bounded(
    metric: CosineScore, pictures: Sequence[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosine, "CACHED_CAPTIONS", 2)
    whole = metric.measure(pictures, PROMPTS)
    assert list(metric._captions) == CAPTIONS[3:]
    np.testing.assert_allclose(metric.measure(pictures, PROMPTS)[metric.key], whole[metric.key], atol=1e-6)


@pytest.mark.parametrize("caption", ["", " \n", None])
def test_an_empty_caption_is_refused(caption: str | None, metric: CosineScore, pictures: Sequence[Image.Image]) -> None:
    with pytest.raises(ValueError, match=f"{metric.key} needs a caption, prompt 'x7' has {re.escape(repr(caption))}"):
        metric.measure(pictures[:1], [{"id": "x7", "caption": caption}])


def test_inputs_are_plain_and_follow_the_weights(pickscore: Path, processor: Path, tmp_path: Path) -> None:
    first = pick_score(str(pickscore), processor=str(processor)).inputs()
    other = pick_score(str(pickscore_folder(tmp_path, seed=2)), processor=str(processor)).inputs()
    assert json.loads(json.dumps(first)) == first
    assert "cosine" in first["formula"]
    assert first != other
    assert {**first, "towers": {**first["towers"], "weights": 0}} == {
        **other,
        "towers": {**other["towers"], "weights": 0},
    }


def rewrite(path: Path, change: dict[str, Tensor | None]) -> None:
    state = {**load_file(path), **change}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual_projection.weight": None}, "1 missing keys, the first is visual_projection.weight"),
        ({"head.weight": torch.zeros(2)}, "1 unexpected keys, the first is head.weight"),
        ({"text_projection.weight": torch.zeros(16, 8)}, r"1 mismatched keys, the first is .*text_projection.weight"),
    ],
)
def test_weights_that_are_not_whole_are_refused(
    change: dict[str, Tensor | None], message: str, processor: Path, tmp_path: Path
) -> None:
    rewrite(pickscore_folder(tmp_path) / "model.safetensors", change)
    with pytest.raises(WeightsError, match=message):
        pick_score(str(tmp_path), processor=str(processor))


def test_missing_and_truncated_weights_are_refused(tmp_path: Path, processor: Path) -> None:
    weights = pickscore_folder(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is truncated"):
        pick_score(str(tmp_path), processor=str(processor))
    weights.unlink()
    with pytest.raises(WeightsError, match=r"missing in .*model\.safetensors"):
        pick_score(str(tmp_path), processor=str(processor))
    with pytest.raises(WeightsError, match=r"missing in .*preprocessor_config\.json"):
        pick_score(str(pickscore_folder(tmp_path)), processor=str(tmp_path))
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        folder = open_clip_folder(tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(WeightsError, match=r"missing in"):
            clip_vit_h_score(str(folder))


def test_weights_of_another_model_are_refused(tmp_path: Path, processor: Path) -> None:
    folder = open_clip_folder(tmp_path / "open_clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 8
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="size mismatch"):
        clip_vit_h_score(str(folder))
    folder = pickscore_folder(tmp_path / "pickscore")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "siglip"}))
    with pytest.raises(WeightsError, match="a model of type 'siglip', expected 'clip'"):
        pick_score(str(folder), processor=str(processor))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"vocab_size": 49000}, "has 49408 tokens, the model knows 49000"), ({"eos_token_id": 7}, "the model with 7")],
)
def test_a_tokenizer_of_another_model_is_refused(
    change: dict[str, int], message: str, tmp_path: Path, processor: Path
) -> None:
    folder = pickscore_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(change)
    (folder / "config.json").write_text(json.dumps(config))
    if "vocab_size" in change:
        name = "text_model.embeddings.token_embedding.weight"
        rewrite(folder / "model.safetensors", {name: torch.zeros(49000, 24)})
    with pytest.raises(WeightsError, match=message):
        pick_score(str(folder), processor=str(processor))


def test_half_precision_weights_are_read_as_float32(tmp_path: Path, processor: Path, pickscore: Path) -> None:
    clip_model(seed=1).half().save_pretrained(tmp_path)
    picture, prompt = [photograph(0)], [{"caption": "a dog"}]
    half = pick_score(str(tmp_path), processor=str(processor)).measure(picture, prompt)["pickscore"]
    full = pick_score(str(pickscore), processor=str(processor)).measure(picture, prompt)["pickscore"]
    assert half.dtype == np.float32
    assert math.isclose(half[0], full[0], abs_tol=2e-3)
