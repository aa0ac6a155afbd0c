"""The whole method on a family that is nothing like the shipped one: what assumes too much fails here."""

import copy
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_pipeline
from PIL import Image
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode
from toy_backbone import CONDITION_DIM, LATENT_CHANNELS, TOY, ToyCondition, ToyDenoiser, ToyPipeline, ToyUNet
from training_world import assert_same, cache, config, fresh_accelerate, losses, tensors

import swd.cache
import swd.train
from swd import backbones
from swd.backbones import backbone_of, backbone_of_folder, denoiser_of
from swd.backbones.fingerprint import pipeline_fingerprint
from swd.cost import forward_cost, prompt_cost
from swd.data import LatentCache, build_cache
from swd.errors import CacheError, ConfigError, PipelineError
from swd.lora.bank import AdapterBank
from swd.lora.files import ADAPTER_FILE, check_adapter_fits, load_adapter, read_adapter
from swd.resize import upscale_bicubic
from swd.sampler import draw_noise, sample, sample_teacher, seed_rngs
from swd.schedule import ScaleSchedule, preset
from swd.training import train
from swd.training.cost import training_cost, update_bytes

CAPTIONS = ["red star", "blue cross", "red star"]
OPTIONS: dict[str, Any] = {
    "iterations": 2,
    "feature_block": 1,
    "grid": "sdxl",
    "boundaries": (0, 25, 50),
    "lr": 1e-2,
}
PASSES = {
    "fake update: student x0",
    "fake update: fake x0 and features",
    "fake update: fake features",
    "fake update: backward",
    "student update: student x0",
    "student update: teacher features",
    "student update: fake x0 and features",
    "student update: teacher x0",
    "student update: backward",
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    backbones.register(TOY)
    with fresh_accelerate():
        yield
    del backbones._registered[TOY.name]


@pytest.fixture
def pipeline() -> ToyPipeline:
    return ToyPipeline()


@pytest.fixture
def data(pipeline: ToyPipeline, tmp_path: Path) -> LatentCache:
    return build_cache(images(), CAPTIONS, pipeline, (4, 6), tmp_path / "cache", moments=True, progress=False)


def images() -> torch.Tensor:
    return torch.rand(len(CAPTIONS), 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def words(*prompts: str) -> ToyCondition:
    return TOY.encode_prompts(ToyPipeline(), prompts, token_length=6)


def test_the_registry_knows_it_by_its_pipeline(pipeline: ToyPipeline, tmp_path: Path) -> None:
    assert backbone_of(pipeline) is TOY
    assert isinstance(denoiser_of(pipeline), ToyDenoiser)
    (tmp_path / "model_index.json").write_text('{"_class_name": "ToyPipeline"}')
    assert backbone_of_folder(tmp_path) is TOY
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(PipelineError, match=r"no backbone serves pipelines of class KandinskyPipeline, known are .*T"):
        backbone_of_folder(tmp_path)
    with pytest.raises(PipelineError, match=r"cannot load the pipeline .*nowhere"):
        backbone_of_folder(tmp_path / "nowhere")
    with pytest.raises(PipelineError, match="no backbone 'clay', known are flux, sd3, sdxl, toy"):
        backbones.backbone_named("clay")


def test_a_cache_holds_its_latents_and_conditions(data: LatentCache, pipeline: ToyPipeline, tmp_path: Path) -> None:
    with torch.no_grad():
        found = pipeline.vae.encode(torch.nn.functional.adaptive_avg_pool2d(images(), 12)).latent_dist
    torch.testing.assert_close(data.latents(6, range(3)), 0.7 * found.mean, atol=1e-5, rtol=1e-5)
    assert data.index.backbone == "toy"
    cond = data.condition([1, 0])
    assert isinstance(cond, ToyCondition)
    torch.testing.assert_close(cond.words, words("blue cross", "red star").words)
    torch.testing.assert_close(data.empty.words, words("").words)
    with pytest.raises(CacheError, match="caption 1: prompt has 7 words, 6 are read"):
        build_cache(images(), ["red", "red " * 7, ""], pipeline, (4,), tmp_path / "other", progress=False)


def test_the_fingerprint_sees_its_text_encoder_and_not_its_network(pipeline: ToyPipeline) -> None:
    before = pipeline_fingerprint(pipeline)
    with torch.no_grad():
        pipeline.unet.conv_in.weight.neg_()
        assert pipeline_fingerprint(pipeline) == before
        pipeline.text_encoder.project.weight.neg_()
    assert pipeline_fingerprint(pipeline) != before


@pytest.mark.parametrize("mode", ["off", "half", "full"])
def test_it_trains_and_its_adapter_comes_back(data: LatentCache, tmp_path: Path, mode: str) -> None:
    denoiser = denoiser_of(ToyPipeline())
    result = train(config(**OPTIONS, gradient_checkpointing=mode), denoiser, data, tmp_path / "run")
    first, second = losses(result)
    assert {"pdm", "dmd", "gan", "fake", "discriminator"} < first.keys()
    assert first["total"] != second["total"]
    stored = load_file(result.adapter / ADAPTER_FILE)
    assert {key.split(".")[0] for key in stored} == {"unet"}
    state, metadata = read_adapter(result.adapter)
    check_adapter_fits(denoiser_of(ToyPipeline()), state, metadata["rank"])
    assert any(weight.abs().sum() > 0 for key, weight in state.items() if "lora_B" in key)

    student = denoiser_of(ToyPipeline())
    load_adapter(student, result.adapter)
    bank = AdapterBank(denoiser_of(ToyPipeline()), rank=2, alpha=2.0, seed=0)
    bank.load_state_dict("student", state)
    x_t, sigma = torch.randn(2, LATENT_CHANNELS, 6, 6), torch.tensor([0.5, 0.9])
    with torch.no_grad(), bank.use("student"):
        expected = bank.denoiser(x_t, sigma, words("red"))
    torch.testing.assert_close(student(x_t, sigma, words("red")), expected)
    assert not torch.allclose(denoiser_of(ToyPipeline())(x_t, sigma, words("red")), expected)


def test_recomputing_changes_no_weight(data: LatentCache, tmp_path: Path) -> None:
    runs = [
        train(config(**OPTIONS, gradient_checkpointing=mode), denoiser_of(ToyPipeline()), data, tmp_path / mode)
        for mode in ("off", "full")
    ]
    assert_same(*(tensors(run.adapter) for run in runs))


def test_what_belongs_to_another_noise_process_is_refused(data: LatentCache, tmp_path: Path) -> None:
    denoiser, cond = denoiser_of(ToyPipeline()), words("red")
    refused = "of a flow process, and the network's is variance-preserving"
    with pytest.raises(ConfigError, match=refused):
        train(config(**{**OPTIONS, "grid": "sd35", "boundaries": (0, 14, 28)}), denoiser, data, tmp_path / "run")
    with pytest.raises(ValueError, match=refused):
        sample(denoiser, preset("mini-4"), cond, [0])
    with pytest.raises(ValueError, match=r"has no time shift: shift must be 1, got 3\.0"):
        sample_teacher(denoiser, cond, None, [0], side=8, shift=3.0)
    with pytest.raises(ValueError, match="of a variance-preserving process, and the network's is flow"):
        training_cost(denoiser_of(make_pipeline()), config(**OPTIONS))


def test_a_cache_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="made for the backbone sd3, training is of toy"):
        train(config(**OPTIONS), denoiser_of(ToyPipeline()), cache(), tmp_path / "run")


def test_the_commands_serve_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    lines = []
    for number, caption in enumerate(CAPTIONS):
        Image.new("RGB", (16, 16), (40 * number, 90, 200)).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    model = tmp_path / "pipeline"
    model.mkdir()
    (model / "model_index.json").write_text('{"_class_name": "ToyPipeline"}')
    data, output = str(tmp_path / "cache"), str(tmp_path / "run")
    swd.cache.main(
        ["--images", str(folder), "--pipeline", str(model), "--output", data, "--scales", "4", "6", "--device", "cpu"]
    )
    options = ["--preset", "own", "--scales", "4", "6", "--boundaries", "0", "25", "50", "--feature-block", "1"]
    options += [
        "--rank",
        "4",
        "--iterations",
        "1",
        "--batch-size",
        "2",
        "--fake-updates",
        "1",
        "--grid",
        "sdxl",
        "--no-progress",
    ]
    swd.train.main(["--pipeline", str(model), "--data", data, "--output", output, *options])
    assert "student:" in capsys.readouterr().out
    assert read_adapter(Path(output) / "final")[1]["scales"] == [4, 6]


def test_its_passes_are_counted() -> None:
    denoiser, pipeline, cond = denoiser_of(ToyPipeline()), ToyPipeline(), words("red", "blue")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(torch.randn(2, LATENT_CHANNELS, 8, 8), torch.ones(2), cond)
    cost = forward_cost(denoiser, 8, batch=2)
    assert cost.flops == counter.get_total_flops()
    assert cost.tokens == 2 * 16
    assert forward_cost(denoiser, 512).tokens == 256**2  # no positions that end
    assert prompt_cost(pipeline, 6).flops == 2 * CONDITION_DIM**2
    options = config(**OPTIONS)
    assert training_cost(denoiser, options).keys() == PASSES
    small, large = (update_bytes(denoiser, options, batch=batch) for batch in (1, 4))
    assert 3 * small < large < 5 * small
    assert not any("lora" in name for name, _ in denoiser.named_modules())


def signal(level: float) -> float:
    """Cumulative product of the alphas of SD and SDXL at t = 1000 level, by hand."""
    betas = [(0.00085**0.5 + index / 999 * (0.012**0.5 - 0.00085**0.5)) ** 2 for index in range(1000)]
    product = 1.0
    for beta in betas[: round(1000 * level)]:
        product *= 1 - beta
    return product


@torch.no_grad()
def ddim(network: ToyUNet, x_t: torch.Tensor, levels: list[float], cond: ToyCondition, guidance: float) -> torch.Tensor:
    """DDIM with guidance on the noise, from the published equations (Song et al., 2021, eq. 12 with sigma_t = 0)."""
    empty = words("").words
    for level, lower in pairwise(levels):
        timestep = torch.full((len(x_t),), 1000 * level - 1)
        with_text = network(x_t, timestep, cond.words)
        without = network(x_t, timestep, empty.expand_as(cond.words))
        noise = without + guidance * (with_text - without)
        x0 = (x_t - (1 - signal(level)) ** 0.5 * noise) / signal(level) ** 0.5
        x_t = signal(lower) ** 0.5 * x0 + (1 - signal(lower)) ** 0.5 * noise
    return x_t


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_its_teacher_samples_by_ddim(guidance: float) -> None:
    pipeline, cond, seeds = ToyPipeline(), words("red star", "blue"), [3, 8]
    denoiser = denoiser_of(pipeline)
    noise = draw_noise(seed_rngs(seeds), (LATENT_CHANNELS, 8, 8), "cpu")
    found = sample_teacher(denoiser, cond, words(""), seeds, side=8, guidance_scale=guidance)
    expected = ddim(pipeline.unet, noise, [*(1 - 0.1 * step for step in range(10)), 0.0], cond, guidance)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_its_students_renoise_by_its_own_process() -> None:
    pipeline, cond, seeds = ToyPipeline(), words("red star", "blue"), [3, 8]
    schedule = ScaleSchedule((4, 6), (1.0, 0.5, 0.0))
    rngs = seed_rngs(seeds)
    first, second = (draw_noise(rngs, (LATENT_CHANNELS, side, side), "cpu") for side in (4, 6))
    expected = upscale_bicubic(ddim(pipeline.unet, first, [1.0, 0.0], cond, 1.0), (6, 6))
    renoised = signal(0.5) ** 0.5 * expected + (1 - signal(0.5)) ** 0.5 * second
    expected = ddim(pipeline.unet, renoised, [0.5, 0.0], cond, 1.0)
    found = sample(denoiser_of(pipeline), schedule, cond, seeds)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_features_are_tokens_of_any_block() -> None:
    denoiser, x_t = denoiser_of(ToyPipeline()), torch.randn(2, LATENT_CHANNELS, 8, 8)
    below, above = denoiser.features(x_t, torch.ones(2), words("red"), [1, 2])
    assert below.shape == (2, 16, denoiser.inner_dim)
    assert above.shape == (2, 64, denoiser.inner_dim)
    with pytest.raises(ValueError, match="multiples of patch size 2"):
        denoiser(x_t[..., :7], torch.ones(2), words("red"))


def test_a_family_is_one_object(pipeline: ToyPipeline) -> None:
    assert copy.deepcopy(denoiser_of(pipeline)).backbone is TOY
    assert backbone_of(make_pipeline()).name == "sd3"
