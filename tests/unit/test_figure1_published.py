"""Figure 1 in the profiles of real models, end to end on tiny pipelines: images, plan, records, page."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from metric_checkpoints import photograph
from tiny_pipelines import NETWORK, make

from repro.__main__ import main
from repro.harness import render
from repro.harness.profile import Profile
from repro.harness.records import load
from repro.kinds import kind_of
from repro.kinds.spectra.planned import encoding
from repro.profiles import PROFILES, load_profile
from repro.stages.autoencoders import vae_skeleton
from repro.worlds.benchmark_images import images
from repro.worlds.sources import folder_files
from swd.cost import weight_bytes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with MJHQ-30K's images, six in two categories."""
    folder = tmp_path_factory.mktemp("data")
    for index in range(6):
        place = folder / "mjhq30k" / "mjhq30k_imgs" / ("animals", "food")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        photograph(index, (64, 72)).save(place / f"image{index}.jpg")
    return folder


@pytest.fixture(params=NETWORK)
def profile(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A real profile whose VAE is that of a tiny pipeline, at 64 px."""
    name = request.param
    make(name).vae.save_pretrained(tmp_path / "pipeline" / "vae")
    real = load_profile(name)
    tiny = replace(
        real,
        data=replace(real.data, resolution=64),
        weights=replace(real.weights, pipeline=str(tmp_path / "pipeline")),
        output="results/benchmark",
        committed=False,
    )
    monkeypatch.setattr("repro.__main__.load_profile", lambda _: tiny)
    monkeypatch.setattr(render, "results", lambda out, *_: _results(out, tiny))
    return tiny


_results_of = render.results


def _results(out: Path, profile: Profile) -> list[render.Entry]:
    from repro.figure1 import FIGURE

    return _results_of(out, lambda _: FIGURE, lambda _: profile, kind_of)


def figure1(profile: Profile, tmp_path: Path, *more: str) -> int:
    folders = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--device", "cpu"]
    return main(["figure1", "--profile", profile.name, *folders, *more])


def test_the_images_of_the_data_folder_are_measured(profile: Profile, data: Path, tmp_path: Path) -> None:
    assert figure1(profile, tmp_path, "--data", str(data)) == 0
    page = (tmp_path / "out" / f"{profile.stem('figure1')}.md").read_text(encoding="utf-8")
    assert "| Latents of images |     32 |        6 |" in page
    assert "Images: 6 of 6 images of MJHQ-30K, evenly by their names." in page
    records = load(tmp_path / "out" / "records" / f"{profile.stem('figure1')}.jsonl")
    assert {record.variant for record in records.records} == {"images", "image_pixels"}
    proposed = [line for line in records.series if line.variant == "images" and line.over == "step"]
    assert len(proposed) == len([name for name in ("6", "4") if f"{profile.presets}-{name}" in page])
    own = tmp_path / "own"
    own.mkdir()
    photograph(50, (64, 64)).save(own / "one.png")
    photograph(51, (80, 64)).save(own / "two.png")
    assert figure1(profile, tmp_path / "again", "--data", str(data), "--images", str(own)) == 0
    again = (tmp_path / "again" / "out" / f"{profile.stem('figure1')}.md").read_text(encoding="utf-8")
    assert "| Latents of images |     32 |        2 |" in again


def test_the_plan_says_what_there_is_and_does_nothing(
    profile: Profile, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert figure1(profile, tmp_path, "--data", str(data), "--dry-run") == 0
    plan = " ".join(capsys.readouterr().out.split())
    assert f"6 of 6 in {data / 'mjhq30k' / 'mjhq30k_imgs'}, 64 px" in plan
    assert "- Missing: nothing." in plan
    assert "this does it: `python -m repro figure1" in plan
    assert "--dry-run" not in plan
    assert not (tmp_path / "out").exists()
    assert figure1(profile, tmp_path, "--data", str(tmp_path), "--pipeline", "nobody/nothing", "--dry-run") == 0
    plan = " ".join(capsys.readouterr().out.split())
    assert "- Missing: 2 files and models, listed below." in plan
    assert "hf download nobody/nothing --include 'vae/*'" in plan
    assert "hf download playgroundai/MJHQ-30K mjhq30k_imgs.zip" in plan


@pytest.mark.parametrize("name", [*NETWORK, "sd35-medium-tiny-vae", "sdxl-tiny-vae"])
def test_a_plan_counts_the_published_vae(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    profile = load_profile(name)
    vae = vae_skeleton(profile, tmp_path)
    assert vae is not None
    flops, memory = encoding(vae, 1024)
    values = 1024**2 * 4 * vae.config.block_out_channels[0]  # the first convolution gives so many bytes
    assert memory > weight_bytes(vae) + values
    assert encoding(vae, 512)[0] < flops / 3.9
    assert main(["figure1", "--profile", name, "--data", str(tmp_path), "--dry-run"]) == 0
    assert f"{flops / 1e12:,.2f} TFLOP an image" in capsys.readouterr().out


def test_missing_images_say_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--device", "cpu"]
    assert main(["figure1", "--profile", "flux", "--data", str(tmp_path), *options]) == 1
    said = capsys.readouterr().err
    assert "no images of MJHQ-30K" in said
    assert "hf download playgroundai/MJHQ-30K mjhq30k_imgs.zip" in said
    assert "--images DIR" in said


def test_a_profile_that_makes_its_images_takes_no_data_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure1", "--profile", "mini", "--data", "somewhere"]) == 2
    assert "profile mini makes its images" in capsys.readouterr().err


def test_images_are_of_all_categories(data: Path) -> None:
    chosen, there = folder_files(data / "mjhq30k", 4)
    assert (len(chosen), there) == (4, 6)
    assert {file.parent.name for file in chosen} == {"animals", "food"}
    source = images("folder", data, side=64, count=2)
    assert source.named == "2 of 6 images of MJHQ-30K, evenly by their names"
    assert source.image(0).shape == torch.Size([3, 64, 64])


def test_every_real_profile_has_images() -> None:
    real = [load_profile(name) for name in PROFILES if name not in {"mini", "smoke"}]
    assert all(profile.data.sources == ("folder",) for profile in real)
    assert len(real) == 6
