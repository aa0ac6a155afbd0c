"""Training of the mini pipeline: resume, data ranges, loss of the mini-CLIP, report."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from repro.worlds.mini import precision
from repro.worlds.mini.clip import contrastive_loss
from repro.worlds.mini.data import CLIP_SEEDS, HELD_OUT_SEEDS, TRAIN_SEEDS, cached, render_scenes
from repro.worlds.mini.fit import FitConfig, StateError, fit
from repro.worlds.mini.report import summarise, total_seconds
from repro.worlds.mini.scenes import CAPTION_WORDS, sample_scene
from repro.worlds.mini.teacher import new_teacher
from repro.worlds.mini.text import TEXT_LENGTH, encode_text, new_tokenizer, tokenize

CONFIG = FitConfig(iterations=6, batch_size=4, lr=0.1, warmup=2, save_every=3)
DATA = [torch.arange(3.0)]


class Network(nn.Module):
    """Two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def regression(network: Network, stop_at: int | None = None):  # noqa: ANN201 - a training step, as `fit` takes it
    def step(iteration: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
        if iteration == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(4, 3, generator=rng)
        return {"loss": (network(x) - x.sum(1, keepdim=True)).square().mean()}

    return step


def fitted(
    folder: Path, config: FitConfig = CONFIG, data: Sequence[torch.Tensor] = DATA, stop_at: int | None = None
) -> dict[str, torch.Tensor]:
    network = Network()
    return fit("fit", network, regression(network, stop_at), config, folder, data).state_dict()


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "half", stop_at=4)
    resumed = fitted(tmp_path / "half")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_training_is_in_bfloat16_only_where_the_device_has_it(
    has: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    with precision.mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_a_finished_fit_is_not_repeated(tmp_path: Path) -> None:
    done = fitted(tmp_path)
    again = fit("fit", Network(), lambda *_: pytest.fail("trained again"), CONFIG, tmp_path, DATA).state_dict()
    assert all(torch.equal(again[key], done[key]) for key in done)


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    fitted(tmp_path)
    with pytest.raises(StateError, match="another config"):
        fitted(tmp_path, replace(CONFIG, lr=0.2))
    with pytest.raises(StateError, match="another start and data"):
        fitted(tmp_path, data=[torch.zeros(3)])


def test_a_loss_that_is_not_finite_stops_the_fit(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="iteration 0"):
        fit("bad", Network(), lambda *_: {"loss": torch.tensor(float("nan"))}, CONFIG, tmp_path, DATA)


def test_seed_ranges_are_disjoint() -> None:
    ranges = sorted((TRAIN_SEEDS, CLIP_SEEDS, HELD_OUT_SEEDS), key=lambda seeds: seeds.start)
    assert all(one.stop <= other.start for one, other in pairwise(ranges))


def test_scenes_are_the_same_from_the_cache(tmp_path: Path) -> None:
    first = render_scenes(TRAIN_SEEDS, 3, tmp_path / "scenes.safetensors")
    again = render_scenes(TRAIN_SEEDS, 3, tmp_path / "scenes.safetensors")
    assert torch.equal(first.images, again.images)
    assert first.captions == again.captions
    with pytest.raises(ValueError, match="2000000 scenes"):
        render_scenes(TRAIN_SEEDS, 2_000_000)


def test_a_cache_of_other_rows_is_made_again(tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.safetensors", torch.arange(6.0).reshape(3, 2)
    assert torch.equal(cached(path, 3, rows[:2], lambda: rows), rows)
    assert torch.equal(cached(path, 3, rows[:2], lambda: pytest.fail("made again")), rows)
    assert torch.equal(cached(path, 3, rows[:2] + 1, lambda: rows + 1), rows + 1)
    assert torch.equal(cached(path, 2, rows[:2] + 1, lambda: rows[:2]), rows[:2])


def test_every_caption_word_is_one_token() -> None:
    tokenizer = new_tokenizer()
    assert all(len(tokenizer.tokenize(word)) == 1 for word in CAPTION_WORDS)
    lengths = [len(tokenizer(sample_scene(seed).caption).input_ids) for seed in range(200)]
    assert max(lengths) <= TEXT_LENGTH


def test_text_is_encoded_as_the_pipeline_does(tmp_path: Path) -> None:
    from repro.worlds.mini.build import save_pipeline
    from repro.worlds.mini.vae import new_vae
    from swd.pipelines import ScalewiseStableDiffusion3Pipeline

    tokenizer, vae = new_tokenizer(), new_vae()
    vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    teacher = new_teacher(tokenizer, 0).eval()
    captions = ["a red star", "two blue rings"]
    with torch.no_grad():
        ours = encode_text(teacher["towers"], tokenize(tokenizer, captions))
    save_pipeline(vae, tokenizer, teacher, tmp_path / "pipeline")
    pipeline = ScalewiseStableDiffusion3Pipeline.from_pretrained(tmp_path / "pipeline")
    theirs = pipeline.encode_condition(captions)
    assert theirs.prompt_embeds.shape == (2, TEXT_LENGTH, 128)  # no T5 tokens: model_index.json says so
    torch.testing.assert_close(theirs.prompt_embeds, ours.prompt_embeds, atol=0.02, rtol=0.02)  # stored in half
    torch.testing.assert_close(theirs.pooled, ours.pooled, atol=0.02, rtol=0.02)


def test_contrastive_loss_with_distinct_captions_is_clips() -> None:
    rng = torch.Generator().manual_seed(0)
    images, texts = (nn.functional.normalize(torch.randn(5, 8, generator=rng), dim=-1) for _ in range(2))
    logits, labels = 10 * images @ texts.T, torch.arange(5)
    expected = (nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)) / 2
    loss = contrastive_loss(images, texts, torch.eye(5, dtype=torch.bool), torch.tensor(10.0))
    torch.testing.assert_close(loss, expected)


def test_contrastive_loss_counts_equal_captions_as_positives() -> None:
    image = nn.functional.normalize(torch.ones(2, 4), dim=-1)
    same = torch.ones(2, 2, dtype=torch.bool)
    torch.testing.assert_close(contrastive_loss(image, image, same, torch.tensor(5.0)), torch.log(torch.tensor(2.0)))


def test_report_sums_the_sessions_of_a_run(tmp_path: Path) -> None:
    rows = [{"iteration": i, "seconds": s, "loss": 1.0 / (i + 1)} for i, s in enumerate((1.0, 2.0, 0.5, 1.5))]
    assert total_seconds(rows) == 3.5
    summary = summarise(rows)
    assert summary["iterations"] == 4
    assert summary["curves"]["loss"][0] == [0, 1.0]
    json.dumps(summary)
