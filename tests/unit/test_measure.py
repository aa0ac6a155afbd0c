"""Stages between a declared table and its records: nothing is done twice, torn work is resumed, costs are counted."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from conftest import make_transformer
from safetensors import SafetensorError

from repro.harness.experiment import ExperimentError, Row
from repro.harness.plan import resolve
from repro.harness.profile import Adapters, Profile
from repro.harness.sampling import SamplingPlan
from repro.kinds.scores import measure as runner
from repro.kinds.scores.measure import run
from repro.kinds.scores.options import ScoresOptions
from repro.metrics.base import pixels
from repro.profiles.mini import DISTIL, PROFILE
from repro.stages import compute
from repro.stages.images import generator_of, load_pipeline
from repro.stages.students import check_adapter, shipped_training
from repro.table2 import TABLE
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.lora.bank import AdapterBank
from swd.lora.files import save_adapter


def sampling(row: Row) -> SamplingPlan:
    return resolve(PROFILE, row).sample


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("teacher", 2 * 28 * 8 * 8),  # two passes a step with guidance, patch 2 on side 16
        ("scalewise_6", 4**2 + 6**2 + 8**2 + 10**2 + 12**2 + 16**2),
        ("scalewise_4", 8**2 + 10**2 + 12**2 + 16**2),
        ("fullscale_2", 2 * 16**2),
    ],
)
def test_tokens(row: str, expected: int) -> None:
    assert compute.tokens(sampling(TABLE.row(row)), SD3Denoiser(make_transformer())) == expected


def test_flops_match_a_count_by_hand() -> None:
    transformer, text, side = make_transformer(), 5, 32
    d, image, patch = transformer.inner_dim, (side // 2) ** 2, 4 * transformer.config.in_channels
    blocks = 2 * 12 * d**2 * image + (12 + 3) * d**2 * text  # the last block only reads the text
    modulation = 2 * 6 * d**2 + (6 + 2) * d**2 + 2 * d**2  # image, text, output norm; once per image
    attention = 2 * 2 * (image + text) ** 2 * d
    embed = 2 * patch * d * image + 32 * d * text + (256 + 16 + 2 * d) * d  # patches in and out, text, time, pooled
    plan = sampling(Row("one", "One", train={"schedule": "full-2"}))
    counted = compute.flops(plan, SD3Denoiser(transformer), text) / 2
    assert counted == pytest.approx(2 * (blocks + modulation + attention + embed), rel=1e-3)


def test_every_student_gets_the_same_iterations_and_data() -> None:
    configs = [config for row in TABLE.rows if (config := resolve(PROFILE, row).train) is not None]
    assert len(configs) == 5
    assert {(c.iterations, c.batch_size, c.fake_updates, c.rank, c.seed) for c in configs} == {
        (configs[0].iterations, configs[0].batch_size, configs[0].fake_updates, configs[0].rank, 0)
    }
    assert configs[0].schedule().scales == (8, 12, 16, 20, 24, 32)


@pytest.mark.parametrize("row", ["teacher", "scalewise_4"])
def test_an_image_depends_on_its_own_seed_only(tiny_pipeline_folder: Path, row: str) -> None:
    pipeline = load_pipeline(tiny_pipeline_folder, "float32", torch.device("cpu"))
    generate = generator_of(sampling(TABLE.row(row)), pipeline, None)
    prompts = [{"caption": text, "seed": seed} for seed, text in enumerate(["a red star", "two blue circles"] * 3)]
    together = pixels(generate(prompts)).int()
    alone = torch.cat([pixels(generate([prompt])) for prompt in prompts]).int()
    assert (together - alone).abs().max() <= 1  # one grey level: float sums depend on the batch, the noise does not
    assert (together[0] - together[2]).abs().max() > 1


@pytest.fixture
def options(tmp_path: Path) -> ScoresOptions:
    return ScoresOptions(out=tmp_path / "out", work=tmp_path / "work", device="cpu")


def with_weights(**changes: Any) -> Profile:
    return replace(PROFILE, weights=replace(PROFILE.weights, **changes))


def test_a_missing_pipeline_is_named_with_what_to_do(tmp_path: Path, options: ScoresOptions) -> None:
    with pytest.raises(ExperimentError, match=r"no pipeline in .*nowhere.*nox -s mini"):
        run(TABLE, with_weights(pipeline=str(tmp_path / "nowhere")), options)


def test_a_truncated_pipeline_is_named(tiny_pipeline_folder: Path, tmp_path: Path, options: ScoresOptions) -> None:
    folder = tmp_path / "pipeline"
    shutil.copytree(tiny_pipeline_folder, folder)
    torn = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(ExperimentError, match=r"vae/diffusion_pytorch_model.safetensors is truncated"):
        run(TABLE, with_weights(pipeline=str(folder)), options)


@pytest.mark.parametrize(
    ("profile", "part"),
    [
        (replace(PROFILE, execution=None), "batch size and dtype of images"),
        (with_weights(adapters=None), "adapters that ship"),
        (replace(PROFILE, data=replace(PROFILE.data, world=None)), "world of prompts and images"),
    ],
)
def test_a_part_that_the_profile_lacks_is_named(profile: Profile, part: str, options: ScoresOptions) -> None:
    with pytest.raises(ExperimentError, match=f"profile mini has no {part}.*--profile"):
        run(TABLE, profile, options)


def test_a_missing_adapter_is_named(tiny_pipeline_folder: Path, tmp_path: Path, options: ScoresOptions) -> None:
    profile = with_weights(pipeline=str(tiny_pipeline_folder), adapters=Adapters(folder=str(tmp_path), distil=DISTIL))
    with pytest.raises(ExperimentError, match=r"no adapter for scalewise_6 in .*--retrain"):
        run(TABLE, profile, options)


def test_a_full_disk_ends_the_run_with_what_to_do(tiny_pipeline_folder: Path, options: ScoresOptions) -> None:
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with (
        patch.object(runner.Runner, "run", side_effect=full),
        pytest.raises(ExperimentError, match="the disk is full; finished stages stay"),
    ):
        run(TABLE, with_weights(pipeline=str(tiny_pipeline_folder)), options)


def test_an_adapter_of_another_shape_is_named(tiny_pipeline_folder: Path, tmp_path: Path) -> None:
    other = AdapterBank(SD3Denoiser(make_transformer(num_heads=3)), rank=2, alpha=2.0, seed=0)
    save_adapter(other, "student", tmp_path)
    with pytest.raises(ExperimentError, match=r"has shape .* expected"):
        check_adapter(tmp_path, tiny_pipeline_folder, shipped_training(PROFILE, TABLE.row("scalewise_6")))


def test_a_truncated_adapter_is_named(tiny_pipeline_folder: Path, tmp_path: Path, options: ScoresOptions) -> None:
    (tmp_path / "scalewise_6").mkdir()
    (tmp_path / "scalewise_6" / "pytorch_lora_weights.safetensors").write_bytes(b"torn")
    profile = with_weights(pipeline=str(tiny_pipeline_folder), adapters=Adapters(folder=str(tmp_path), distil=DISTIL))
    with pytest.raises(ExperimentError, match=r"scalewise_6.*truncated"):
        run(TABLE, profile, options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(tiny_pipeline_folder: Path, options: ScoresOptions) -> None:
    with pytest.raises(ExperimentError, match="torch sees no CUDA device"):
        run(TABLE, with_weights(pipeline=str(tiny_pipeline_folder)), replace(options, device="cuda"))
