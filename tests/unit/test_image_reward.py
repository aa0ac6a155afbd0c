import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_checkpoints import image_reward_folder, photograph
from PIL import Image

from repro.metrics.base import MemoryMeasured, WeightsError
from repro.metrics.image_reward import ImageReward

CAPTIONS = ["a red star", "two dogs, and a cat on a square", "a cross", "a red star " * 20]
PROMPTS = [{"id": f"p{index}", "caption": caption} for index, caption in enumerate(CAPTIONS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_reward_folder(tmp_path_factory.mktemp("image_reward"))


@pytest.fixture(scope="module")
def metric(folder: Path) -> ImageReward:
    return ImageReward(str(folder), tokenizer=str(folder))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [photograph(seed, size) for seed, size in enumerate([(32, 32), (48, 48), (64, 40), (40, 64)])]


def test_batches_do_not_matter(metric: ImageReward, pictures: Sequence[Image.Image]) -> None:
    whole = metric.measure(pictures, PROMPTS)
    order = [2, 0, 3, 1]
    parts = [metric.measure([pictures[i]], [PROMPTS[i]]) for i in order]
    for name, values in whole.items():
        np.testing.assert_allclose(np.concatenate([part[name] for part in parts]), values[order], atol=1e-5)
    assert np.ptp(whole["image_reward"]) > 0.1


def test_both_image_and_caption_count(metric: ImageReward, pictures: Sequence[Image.Image]) -> None:
    rewards = [metric.measure([p], [q])["image_reward"][0] for p in pictures[:2] for q in PROMPTS[:2]]
    assert len({round(float(reward), 4) for reward in rewards}) == 4


def test_captions_are_cut_at_35_tokens_and_counted(metric: ImageReward, pictures: Sequence[Image.Image]) -> None:
    for words, cut in ((33, False), (34, True)):  # with its two ends, 35 and 36 tokens
        assert metric.measure(pictures[:1], [{"caption": "star " * words}])["image_reward.cut"].tolist() == [cut]
    longer = [{"caption": "star " * 33 + end} for end in ("", "dog", "and a cat")]
    rewards = metric.measure(pictures[:1] * 3, longer)["image_reward"]
    np.testing.assert_allclose(rewards, rewards[0], atol=1e-5)
    found = metric.measure(pictures, PROMPTS)
    estimates = metric.estimates(MemoryMeasured(PROMPTS, {name: [values] for name, values in found.items()}))
    assert estimates["image_reward"].value == pytest.approx(found["image_reward"].astype(float).mean())
    assert (estimates["image_reward_cut"].value, estimates["image_reward_cut"].n) == (0.25, 4)


def test_a_later_word_is_read_by_the_first_token(metric: ImageReward, pictures: Sequence[Image.Image]) -> None:
    pair = [{"caption": "a red star"}, {"caption": "a red dog"}]
    rewards = metric.measure(pictures[:1] * 2, pair)["image_reward"]
    assert abs(rewards[0] - rewards[1]) > 1e-3  # causal attention would hide it


def test_an_empty_caption_is_refused(metric: ImageReward, pictures: Sequence[Image.Image]) -> None:
    with pytest.raises(ValueError, match="image_reward needs a caption, prompt 'x7' has ''"):
        metric.measure(pictures[:1], [{"id": "x7", "caption": ""}])


def test_inputs_are_plain_and_follow_the_weights(metric: ImageReward, tmp_path: Path) -> None:
    other = image_reward_folder(tmp_path, seed=1)
    first, second = metric.inputs(), ImageReward(str(other), tokenizer=str(other)).inputs()
    assert json.loads(json.dumps(first)) == first
    assert first["weights"]["ImageReward.pt"] != second["weights"]["ImageReward.pt"]
    assert "0.16717362830052426" in first["formula"]


def damaged(folder: Path, target: Path, change: dict[str, torch.Tensor | None]) -> Path:
    """A copy with tensors replaced, or left out where None."""
    for path in folder.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    state = {**torch.load(folder / "ImageReward.pt", weights_only=True), **change}
    torch.save({name: value for name, value in state.items() if value is not None}, target / "ImageReward.pt")
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blip.visual_encoder.norm.weight": None}, r"vision tower .* misses post_layernorm\.weight, of 1 tensors"),
        (
            {"blip.text_encoder.encoder.layer.1.crossattention.self.key.bias": None},
            r"text tower .* misses encoder\.layer\.1\.crossattention\.self\.key\.bias",
        ),
        ({"mlp.layers.6.bias": None}, r"head of ImageReward misses 3\.bias"),
        ({"mlp.layers.9.weight": torch.zeros(1, 1)}, r"head of ImageReward misses 5\.bias"),
        ({"blip.text_encoder.pooler.dense.bias": torch.zeros(48)}, r"does not know pooler\.dense\.bias"),
        ({"blip.visual_encoder.head.bias": torch.zeros(9)}, r"blip\.visual_encoder\.head\.bias is no tensor of"),
        (
            {"blip.visual_encoder.blocks.1.attn.qkv.bias": torch.zeros(9)},
            r"encoder\.layers\.1\.self_attn\.qkv\.bias in the vision tower .* shape \(9,\), expected \(384,\)",
        ),
        ({"blip.visual_encoder.pos_embed": None}, r"has no tensor 'blip\.visual_encoder\.pos_embed'"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused_by_its_first_tensor(
    change: dict[str, torch.Tensor | None], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        ImageReward(str(damaged(folder, tmp_path, change)), tokenizer=str(folder))


class Sneaky:
    def __reduce__(self) -> tuple:
        return (print, ("code of a checkpoint ran",))


def test_no_code_of_a_checkpoint_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(folder, tmp_path, {})
    torch.save({"a": Sneaky()}, tmp_path / "ImageReward.pt")
    with pytest.raises(WeightsError, match=r"cannot read .*ImageReward\.pt"):
        ImageReward(str(tmp_path), tokenizer=str(folder))
    assert "code of a checkpoint ran" not in capsys.readouterr().out
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "ImageReward.pt")
    with pytest.raises(WeightsError, match="is no state dict: expected tensors by name"):
        ImageReward(str(tmp_path), tokenizer=str(folder))


@pytest.mark.parametrize("name", ["ImageReward.pt", "med_config.json", "vocab.txt"])
def test_missing_and_truncated_files_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    damaged(folder, tmp_path, {})
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"is truncated|is no med_config|tokens with BLIP's two, the checkpoint 300"):
        ImageReward(str(tmp_path), tokenizer=str(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(WeightsError, match=f"missing in .*{name}"):
        ImageReward(str(tmp_path), tokenizer=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"add_cross_attention": False}, "add_cross_attention must be true"),
        ({"position_embedding_type": "relative_key"}, "must be absolute, got 'relative_key'"),
        ({"num_attention_heads": 5}, "5 heads do not divide 48"),
    ],
)
def test_a_config_that_means_another_model_is_refused(
    change: dict[str, object], message: str, folder: Path, tmp_path: Path
) -> None:
    damaged(folder, tmp_path, {})
    config = json.loads((folder / "med_config.json").read_text())
    (tmp_path / "med_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(WeightsError, match=message):
        ImageReward(str(tmp_path), tokenizer=str(folder))
