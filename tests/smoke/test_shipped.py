"""What the repository ships: small files, a pipeline that plain diffusers loads, students that draw alike in both."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchLCMScheduler, StableDiffusion3Pipeline

from repro import load_experiment
from repro.harness import records, render
from repro.harness.files import digest_folder
from repro.harness.plan import resolve
from repro.kinds import kind_of
from repro.profiles import load_profile
from repro.profiles.mini import PROFILE
from repro.table2 import TABLE
from repro.worlds.mini.data import HELD_OUT_SEEDS, render_scenes
from repro.worlds.mini.vae import psnr
from swd.pipelines import ScalewiseStableDiffusion3Pipeline

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "repro" / "worlds" / "mini" / "weights"
RESULTS = ROOT / "paper_tables"
STUDENTS = [row for row in TABLE.rows if row.is_student]


@pytest.fixture(scope="module")
def pipeline() -> ScalewiseStableDiffusion3Pipeline:
    return ScalewiseStableDiffusion3Pipeline.from_pretrained(WEIGHTS / "pipeline")


def test_weights_are_small_and_never_pickled() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".png"}
    assert sum(path.stat().st_size for path in files) < 17.5e6  # of 25 MB for weights and records


def test_the_vae_reconstructs_held_out_scenes(pipeline: ScalewiseStableDiffusion3Pipeline) -> None:
    scenes = render_scenes(HELD_OUT_SEEDS, 100)
    assert psnr(pipeline.vae, scenes.batch(torch.arange(100))) >= 40


def test_no_config_remembers_the_folder_it_was_made_in() -> None:
    for path in WEIGHTS.rglob("*.json"):
        assert "_name_or_path" not in path.read_text(), path


@pytest.mark.parametrize("row", ["scalewise_4", "fullscale_2"])
def test_plain_diffusers_draws_the_same_image(row: str) -> None:
    schedule = resolve(PROFILE, TABLE.row(row)).sample.ladder(32)
    ours = ScalewiseStableDiffusion3Pipeline.from_pretrained(WEIGHTS / "pipeline")
    plain = StableDiffusion3Pipeline.from_pretrained(WEIGHTS / "pipeline", text_encoder_3=None, tokenizer_3=None)
    for pipe in (ours, plain):
        pipe.set_progress_bar_config(disable=True)
        pipe.load_lora_weights(WEIGHTS / "adapters" / row)
    factors = [scale / schedule.scales[0] for scale in schedule.scales[1:]]
    plain.scheduler = FlowMatchLCMScheduler(shift=1.0, scale_factors=factors, upscale_mode="bicubic")
    torch.manual_seed(5)  # diffusers renoises from the global generator
    theirs = plain(
        "a red star",
        sigmas=list(schedule.sigmas[:-1]),
        num_inference_steps=schedule.num_steps,
        guidance_scale=1.0,
        height=2 * schedule.scales[0],
        width=2 * schedule.scales[0],
        max_sequence_length=0,
        output_type="np",
    )
    image = ours("a red star", schedule=schedule, seeds=[5], output_type="np").images[0]
    np.testing.assert_allclose(image, theirs.images[0], atol=2e-4)


def test_committed_pages_follow_from_their_records() -> None:
    assert not render.check(RESULTS, render.results(RESULTS, load_experiment, load_profile, kind_of))


def test_committed_numbers_are_those_of_the_shipped_weights() -> None:
    (run,) = records.load(RESULTS / "records" / "table2.jsonl").runs
    assert run.dirty is False
    sampled = {name: row for name, row in run.config["rows"].items() if "adapter" in row}
    assert {row["pipeline"] for row in sampled.values()} == {digest_folder(WEIGHTS / "pipeline")}
    shipped = {f"{row.key} seed 0": digest_folder(WEIGHTS / "adapters" / row.key) for row in STUDENTS}
    assert {name: row["adapter"] for name, row in sampled.items()} == {"teacher seed 0": None, **shipped}


def test_the_committed_table_kept_to_its_memory() -> None:
    (run,) = records.load(RESULTS / "records" / "table2.jsonl").runs
    assert run.peak_memory_bytes <= 4 * 2**30


def accuracy(variant: str) -> float:
    """Mean scene accuracy over the prompt sets, from the committed records."""
    found = records.load(RESULTS / "records" / "table2.jsonl")
    values = [found.find(variant, prompts.key, "scene_accuracy")[0].value for prompts in PROFILE.prompt_sets]
    return float(np.mean(values))


def test_the_teacher_is_good_enough_to_compare_students() -> None:
    assert accuracy("teacher") >= 0.80


@pytest.mark.parametrize("row", [row.key for row in STUDENTS])
def test_students_keep_up_with_their_teacher(row: str) -> None:
    assert accuracy(row) >= 0.85 * accuracy("teacher")
