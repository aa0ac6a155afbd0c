"""Memory of supported models: counted on their architectures, and the page that names the GPU each needs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from harness_world import RUN

from repro.harness.records import RecordSet
from repro.harness.schema import Record, RecordError
from repro.kinds.support import keys
from repro.kinds.support.measure import TRAIN, counts_of, random_pipeline_of
from repro.kinds.support.page import page
from repro.kinds.support.result import GIB, SupportResult
from repro.profiles import load_profile, mini
from repro.support import PAGE
from swd.backbones import backbone_of, denoiser_of
from swd.training import DistillConfig

PUBLISHED = {"sd35-medium": 2.2e9, "sd35-large": 8.1e9, "sdxl": 2.6e9, "flux": 11.9e9}  # parameters, as announced


@pytest.mark.parametrize("model", PAGE.models, ids=lambda model: model.profile)
def test_architectures_have_the_size_of_the_published_models(model: Any) -> None:
    pipeline = random_pipeline_of(load_profile(model.profile))
    network = denoiser_of(pipeline).network
    found = sum(parameter.numel() for parameter in network.parameters())
    assert found == pytest.approx(PUBLISHED[model.profile], rel=0.03)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    backbone = backbone_of(pipeline)
    assert {backbone.component, "vae", *backbone.text_encoders, *backbone.tokenizers} <= pipeline.components.keys()


@pytest.mark.parametrize("name", ["sd35-medium", "sdxl", "flux"])
def test_counts_are_those_of_the_weights_and_of_what_runs(name: str) -> None:
    pipeline = tiny_pipelines.make(name)
    denoiser = denoiser_of(pipeline)
    preset = {"sd35-medium": "sd35-4", "sdxl": "sdxl-4", "flux": "flux-4"}[name]
    config = DistillConfig(preset=preset, feature_block=1, rank=2, **TRAIN)
    found = counts_of(pipeline, config)
    weights = {
        keys.weight_bytes("network"): denoiser.network,
        keys.weight_bytes("vae"): pipeline.vae,
    }
    for metric, module in weights.items():
        assert found[metric] == sum(p.numel() * p.element_size() for p in module.parameters())
    whole = sum(found[keys.weight_bytes(part)] for part in keys.PARTS)
    assert found[keys.peak_bytes("sample")] > whole
    assert found[keys.peak_bytes("sample_offloaded")] < found[keys.peak_bytes("sample")]
    assert found[keys.peak_bytes("train")] > found[keys.weight_bytes("network")]
    latents = 4 * sum(side**2 for side in (64, 80, 96, 128, 64, 80, 96))  # and the lower of every pair
    text = {"sd35-medium": (12 + 512) * 32 + 16, "sdxl": 12 * 32 + 8 + 6, "flux": 512 * 32 + 16 + 1}[name]
    assert found[keys.CACHE_BYTES] == 2 * (latents + text)


def result(**peaks: float) -> SupportResult:
    run = replace(RUN, table="support", config={})
    page = replace(PAGE, models=PAGE.models[:1], gpus=(8, 16), spare=0.1)
    lines: list[Any] = [run, Record.of(run, "sd35-medium", keys.STEPS, 6.0)]
    lines.append(Record.of(run, "sd35-medium", keys.PARAMETERS, 2e9))
    lines.append(Record.of(run, "sd35-medium", keys.CACHE_BYTES, 0.005 * GIB))
    lines += [Record.of(run, "sd35-medium", keys.weight_bytes(part), 4 * GIB) for part in keys.PARTS]
    lines += [Record.of(run, "sd35-medium", keys.peak_bytes(use), peaks.get(use, 1.0) * GIB) for use in keys.USES]
    return SupportResult(page, mini.PROFILE, RecordSet.of(lines))


def test_the_smallest_gpu_with_room_to_spare(tmp_path: Path) -> None:
    found = result(sample=7.3, sample_offloaded=7.1, train=14.5)
    assert found.gpu("sd35-medium", "sample") == 16  # 7.3 and a tenth are more than 8
    assert found.gpu("sd35-medium", "sample_offloaded") == 8
    assert found.gpu("sd35-medium", "train") is None
    row = next(line for line in page(found, tmp_path).splitlines() if line.startswith("| SD3.5 Medium"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == ["6", "7.3", "16 GB", "7.1", "8 GB", "14.5", "> 16 GB", "5.0"]


def test_records_from_before_a_model_say_so() -> None:
    with pytest.raises(RecordError, match="peak_bytes_train of sdxl was not counted"):
        result().gpu("sdxl", "train")


def test_nothing_is_allocated() -> None:
    pipeline = random_pipeline_of(load_profile("flux"))
    assert pipeline.text_encoder_2.dtype == torch.bfloat16
    assert pipeline.text_encoder_2.device.type == "meta"
