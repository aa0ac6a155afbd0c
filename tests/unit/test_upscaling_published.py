"""Table 1 in a profile of a published model, on a miniature of everything that its user has."""

import re
import shutil
import sys
from argparse import ArgumentParser
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "smoke"))

from benchmark_world import build, profile
from tiny_pipelines import make, save

from repro.harness import render
from repro.harness.experiment import ExperimentError
from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.plan import finishing, latent_side
from repro.harness.profile import Profile
from repro.harness.records import load
from repro.harness.systems import HubFile
from repro.kinds import kind_of
from repro.kinds.upscaling import measure
from repro.kinds.upscaling.declare import Cell, narrowed
from repro.kinds.upscaling.measure import run
from repro.kinds.upscaling.options import UpscalingOptions, add_arguments, choose_profile, make_options
from repro.metrics.base import MemoryMeasured
from repro.metrics.fid import Reference as FeatureReference
from repro.metrics.fid import frechet_distance
from repro.metrics.frechet import Fid, cells_of
from repro.metrics.reference import Reference
from repro.profiles import load_profile
from repro.stages.image_files import read_image
from repro.table1 import TABLE
from repro.worlds.base import load_world
from repro.worlds.prompts.entry import PromptFileError
from repro.worlds.real_images import centre_square

SHORT = replace(TABLE, timesteps=(400,), contrasts=TABLE.contrasts[:1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def medium(folder: Path) -> Profile:
    return profile(folder, "sd35-medium")


def options(folder: Path, **changes: object) -> UpscalingOptions:
    return UpscalingOptions(out=folder / "out", work=folder / "work", device="cpu", command="test", **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def measured(folder: Path, medium: Profile) -> Path:
    run(SHORT, medium, options(folder))
    return folder / "out"


def test_the_published_profiles_are_the_papers() -> None:
    medium = load_profile("sd35-medium")
    plan = finishing(medium)
    assert (plan.steps, plan.guidance_scale, latent_side(medium)) == (28, 7.0, 128)
    assert [TABLE.in_profile(cell, medium).side for cell in TABLE.cells] == [128, 64, 64]
    assert [TABLE.in_profile(cell, load_profile("mini")).side for cell in TABLE.cells] == [32, 16, 16]
    found = narrowed(medium)
    assert [prompts.key for prompts in found.prompt_sets] == ["coco"]
    assert [scorer.name for scorer in found.scorers] == ["fid"]
    assert found.images_per_set == TABLE.images_of_set(medium) == 5000
    assert finishing(load_profile("flux")).guidance_scale == 3.5
    assert finishing(load_profile("mini")).steps == 28


def test_every_cell_has_fid_with_replicates_and_the_papers_number_beside(measured: Path, medium: Profile) -> None:
    records = load(measured / "records" / "table1.sd35-medium.jsonl")
    assert {(record.variant, record.metric, record.n) for record in records.records} == {
        (key, "fid_t400", 6) for key in ("A", "B_16", "C_16")
    }
    for key in ("A", "B_16", "C_16"):
        series = records.find_series(key, "fid_t400_without_block")
        assert series is not None
        assert len(series.values) == 6  # as many cells as images here, 12 where there are more
    render.render(measured, render.results(measured, lambda _: SHORT, lambda _: medium, kind_of))
    page = (measured / "table1.sd35-medium.md").read_text(encoding="utf-8")
    assert "compare values" in page
    assert "129.7" in page  # v1, order C
    assert "122.0" in page  # v2
    assert "## Does this agree with the published numbers?" in page
    assert "16 of 32" in page  # the miniature's side
    assert "FID-E" not in page
    assert "**FID**: Frechet distance. Features: Inception v3 of 2015-12-05, pool3, **not** with the published" in page
    assert "Real images: COCO 2014 6 (" in page
    assert "- (a) 6 images for 2048 features" in page


def test_a_second_run_has_nothing_to_do(
    measured: Path, folder: Path, medium: Profile, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "load_pipeline", lambda *_: pytest.fail("loaded again"))
    run(SHORT, medium, options(folder))
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_other_families_finish_through_their_backbone(name: str, folder: Path, medium: Profile, tmp_path: Path) -> None:
    place = save(make(name), tmp_path / name)
    teacher = replace(load_profile(name).teacher, steps=2)
    other = replace(medium, teacher=teacher, weights=replace(medium.weights, pipeline=str(place)))
    one = replace(SHORT, cells=(Cell("A", 32), Cell("C", 16)), contrasts=())
    run(one, other, options(tmp_path))
    found = load(tmp_path / "out" / "records" / "table1.sd35-medium.jsonl").records
    assert len(found) == 2
    assert all(record.value is not None and np.isfinite(record.value) for record in found)


def test_real_images_are_centre_squares_of_the_files_that_prompts_name(folder: Path, medium: Profile) -> None:
    world = load_world(narrowed(medium), folder)
    prompts = world.prompts("coco")[:2]
    found = world.real_images(prompts, read_image)
    assert found.shape == (2, 3, 64, 64)
    for prompt, image in zip(prompts, found, strict=True):
        file = folder / "data" / "coco2014" / "val2014" / f"COCO_val2014_{int(prompt['id']):012d}.jpg"
        with Image.open(file) as opened:  # 64 x 48
            square = opened.convert("RGB").crop((8, 0, 56, 48)).resize((64, 64), Image.Resampling.LANCZOS)
        expected = torch.from_numpy(np.array(square)).permute(2, 0, 1)
        assert ((image + 1) * 127.5 - expected).abs().max() < 1e-3


def test_a_square_of_the_right_size_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(centre_square(Image.fromarray(pixels), 16), expected)


def test_one_missing_image_is_named_before_any_work(folder: Path, medium: Profile, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "coco2014" / "val2014").mkdir(parents=True)
    ours, theirs = data / "coco2014", folder / "data" / "coco2014"
    (ours / "coco.csv").write_bytes((theirs / "coco.csv").read_bytes())
    features = 2048
    np.savez(ours / "reference.npz", mu=np.zeros(features), sigma=np.eye(features))  # statistics are not enough
    for file in sorted((theirs / "val2014").iterdir())[1:]:
        (ours / "val2014" / file.name).write_bytes(file.read_bytes())
    other = replace(medium, data=replace(medium.data, folder=str(data)))
    with pytest.raises(PromptFileError, match=r"1 of 6 prompts have no real image in .*COCO_val2014_000000000000"):
        run(SHORT, other, options(tmp_path))
    assert not (tmp_path / "work" / "images").exists()


def test_a_broken_photograph_is_named(folder: Path, medium: Profile) -> None:
    world = load_world(narrowed(medium), folder)
    bad = folder / "nothing.jpg"
    with pytest.raises(ExperimentError, match=r"nothing\.jpg cannot be read: no such file"):
        measure._read(bad)
    world.check_real_images(world.prompts("coco"))


def test_photographs_that_cannot_be_read_are_known_before_any_work(
    folder: Path, medium: Profile, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(folder / "data" / "coco2014", data / "coco2014")
    np.savez(data / "coco2014" / "reference.npz", mu=np.zeros(2048), sigma=np.eye(2048))  # so FID reads none
    for number in (2, 4):
        path = data / "coco2014" / "val2014" / f"COCO_val2014_{number:012d}.jpg"
        path.write_bytes(path.read_bytes()[:-200])
    other = replace(medium, data=replace(medium.data, folder=str(data)))
    with pytest.raises(PromptFileError, match=r"2 of 6 real images cannot be read, the first: .*000[24]\.jpg cannot"):
        run(SHORT, other, options(tmp_path))
    assert not (tmp_path / "work" / "images").exists()


def test_missing_weights_of_the_distance_are_named(folder: Path, medium: Profile, tmp_path: Path) -> None:
    scorers = tuple(replace(scorer, weights=HubFile(str(tmp_path / "none.pth"))) for scorer in medium.scorers)
    with pytest.raises(ExperimentError, match=r"none\.pth"):
        run(SHORT, replace(medium, scorers=scorers), options(tmp_path))


def test_a_full_disk_says_what_to_do(medium: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(measure._Runner, "_check", full)
    with pytest.raises(ExperimentError, match=r"the disk is full; finished stages stay in .*work"):
        run(SHORT, medium, options(tmp_path))


def test_the_plan_counts_images_and_steps_and_does_nothing(
    medium: Profile, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    real = load_profile("sd35-medium")
    here = replace(real, data=replace(real.data, folder=str(tmp_path)))
    run(TABLE, here, options(tmp_path, dry_run=True))
    text = capsys.readouterr().out
    assert "45,000 images" in text  # 3 orders, 3 levels, 5,000 images
    assert "val2014.zip" in text
    assert "hf download stabilityai/stable-diffusion-3.5-medium" in text
    steps = [found[1] for line in text.splitlines() if (found := re.match(r"`\w+ t\d+`.* (\d+) +[\d.]+ ", line))]
    assert steps[:3] == ["6", "10", "17"]  # 0.6 and 0.8 lie just below index 18 (.6022) and above 12 (.7904) of 28
    assert not (tmp_path / "work").exists()


def typed(*words: str) -> object:
    parser = ArgumentParser()
    parser.add_argument("--profile", default="sd35-medium")
    add_arguments(parser)
    return parser.parse_args(words)


def test_what_is_typed_changes_the_profile(tmp_path: Path) -> None:
    found = choose_profile(TABLE, typed("--num-prompts", "100", "--data", str(tmp_path)), load_profile)  # type: ignore[arg-type]
    assert narrowed(found).images_per_set == TABLE.images_of_set(found) == 100
    assert found.data.folder == str(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--vae", "tiny"), "full VAE"), (("--without", "fid"), "FID alone"), (("--dtype", "int8"), "--dtype")],
)
def test_what_cannot_be_measured_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_profile(TABLE, typed(*words), load_profile)  # type: ignore[arg-type]


def test_a_part_is_not_committed(tmp_path: Path) -> None:
    common = RunOptions(out=tmp_path, work=tmp_path, committed=True)
    with pytest.raises(UsageError, match="a part of a table"):
        make_options(TABLE, load_profile("sd35-medium"), typed("--num-prompts", "9"), common)  # type: ignore[arg-type]


def test_replicates_are_the_distances_without_each_cell() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(300, 8)), rng.normal(size=(60, 8)) + 0.2
    reference = Reference(real.mean(0), np.cov(real.T), 300, None, "0" * 64, None)
    prompts = [{"id": str(index)} for index in range(60)]
    cells = cells_of(prompts)
    pass_left = MemoryMeasured(prompts, {"x": [made[:25].astype(np.float32), made[25:].astype(np.float32)]})
    estimate, replicates = Fid(reference).paired(pass_left, "x", cells)
    slow = FeatureReference.of(torch.from_numpy(real))
    sample = slow.sample(torch.from_numpy(made.astype(np.float32)))
    assert estimate.value == pytest.approx(frechet_distance(slow, sample), rel=1e-5)
    expected = [frechet_distance(slow, sample[torch.from_numpy(cells != cell)]) for cell in range(12)]
    assert replicates == pytest.approx(expected, rel=1e-5)


def test_too_few_images_to_pair_are_refused() -> None:
    reference = Reference(np.zeros(2), np.eye(2), 9, None, "0" * 64, None)
    prompts = [{"id": str(index)} for index in range(3)]
    left = MemoryMeasured(prompts, {"x": [np.zeros((3, 2), np.float32)]})
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        Fid(reference).paired(left, "x", cells_of(prompts))
