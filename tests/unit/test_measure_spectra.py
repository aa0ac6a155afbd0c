"""Figure 1: the photographs, what is measured, and its page and picture from the records."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from PIL import Image

from repro.figure1 import FIGURE
from repro.harness import render
from repro.harness.experiment import ExperimentError, UnknownNameError
from repro.harness.plots import recorded_digest
from repro.harness.profile import Profile, Weights
from repro.harness.records import Curve, RecordError, RecordSet, load, parse, save
from repro.kinds import kind_of
from repro.kinds.spectra import measure as spectra
from repro.kinds.spectra import panel_spectra
from repro.kinds.spectra.figure import drawing as drawing_of
from repro.kinds.spectra.options import SpectraOptions
from repro.kinds.spectra.result import SpectraResult
from repro.profiles.sd35_medium import PROFILE as SD35
from repro.profiles.sd35_medium_tiny_vae import PROFILE as SD35_TINY
from repro.profiles.sdxl import PROFILE as SDXL
from repro.profiles.smoke import PROFILE
from repro.stages.autoencoders import load_vae, whitened_latents
from repro.worlds import sources
from repro.worlds.photographs import FILES, photograph_crops
from swd.flow import FlowMatching, VariancePreserving
from swd.schedule import preset
from swd.spectra import safe_side

OWN = [panel for panel in FIGURE.panels if panel.source != "folder"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figure, measured on a few images."""
    folder = tmp_path_factory.mktemp("figure1")
    figure = replace(FIGURE, images=8)
    spectra.run(figure, PROFILE, SpectraOptions(out=folder / "out", work=folder / "work", command="test"))
    render.render(folder / "out", found(folder / "out"))
    return folder / "out"


def found(out: Path) -> list[render.Entry]:
    def profile(name: str) -> Profile:
        assert name == "smoke"
        return PROFILE

    return render.results(out, lambda _: FIGURE, profile, kind_of)


def test_the_photographs_tile_alike_every_time() -> None:
    crops, photograph = photograph_crops(64)
    assert crops.shape == (94, 3, 64, 64)
    assert [photograph.count(number) for number in range(len(FILES))] == [16, 6, 12, 15, 15, 15, 15]
    assert torch.equal(crops, photograph_crops(64)[0])
    assert crops.float().std((1, 2, 3)).min() > 2  # none is blank


@pytest.mark.parametrize("package", ["skimage", "sklearn"])
def test_photographs_without_their_package_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(spectra, "load_vae", lambda *_, **__: pytest.fail("loaded before the images were found"))
    with pytest.raises(ExperimentError, match=rf"{package}, which is not installed; the extra `photographs`"):
        spectra.run(FIGURE, PROFILE, SpectraOptions(out=tmp_path / "out", work=tmp_path / "work", command="test"))


def test_the_curves_obey_the_noise_process() -> None:
    samples = torch.randn(64, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    panel = spectra.PanelSpectra.of(samples.split(24), (500,), FlowMatching())
    curves = {curve.metric: curve for curve in panel.curves("panel")}
    assert set(curves) == {"clean", "noisy_t500", "signal_t500", "expected_t500"}
    expected = torch.tensor(curves["expected_t500"].y)
    torch.testing.assert_close(expected - torch.tensor(curves["signal_t500"].y), torch.full_like(expected, 0.25))
    error = torch.tensor(curves["noisy_t500"].error)
    assert ((torch.tensor(curves["noisy_t500"].y) - expected).abs() < 4.5 * error).all()
    assert curves["noisy_t500"].n == 64
    assert curves["expected_t500"].n == 0


def test_records_hold_every_panel_and_level(out: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    assert {record.variant for record in records.records} == {panel.key for panel in OWN}
    assert {record.metric for record in records.records} == {column.key for column in FIGURE.columns}
    assert all(r.ci_low <= r.value <= r.ci_high for r in records.records if r.metric == "exponent")
    assert len(records.curves) == len(OWN) * (1 + 3 * len(FIGURE.timesteps))


def test_the_safe_side_is_that_of_the_latents(out: Path) -> None:
    vae = load_vae(PROFILE, spectra.ROOT)
    latents = whitened_latents(vae, photograph_crops(64)[0][:8] / 127.5 - 1)
    records = load(out / "records" / "figure1.jsonl")
    for timestep in FIGURE.timesteps:
        (record,) = records.find("photographs", "", f"safe_side_t{timestep}")
        assert record.value == safe_side(panel_spectra.radial_spectrum(latents).mean(), timestep / 1000)
        assert record.n == 8


def test_more_noise_never_asks_for_a_larger_side(out: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    for panel in OWN:
        sides = [records.find(panel.key, "", f"safe_side_t{t}")[0].value for t in FIGURE.timesteps]
        assert sides == sorted(sides, reverse=True)


def test_page_and_figure_follow_from_the_records(out: Path) -> None:
    page = (out / "figure1.md").read_text(encoding="utf-8")
    assert "| Latents of scenes      |     32 |        8 |" in page
    assert "![Figure 1" in page
    assert "figure1.md" in (out / "README.md").read_text(encoding="utf-8")
    assert render.check(out, found(out)) == []
    assert render.render(out, found(out)) == []


def test_schedules_stand_beside_the_published_ones(out: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    series = {(line.variant, line.metric): line.values for line in records.series}
    for name in ("mini-6", "mini-4"):
        assert series["published", f"sigmas_{name}"] == preset(name).sigmas[:-1]
        assert series["published", f"scales_{name}"] == preset(name).scales
        for panel in ("scenes", "photographs"):
            proposed = series[panel, f"scales_{name}"]
            assert proposed[-1] == 32
            assert list(proposed) == sorted(proposed)
    assert ("pixels", "scales_mini-6") not in series
    page = (out / "figure1.md").read_text(encoding="utf-8")
    assert "| `mini-4`, sigmas" in page
    assert "| scales, latents of photographs" in page


def test_other_numbers_make_page_and_figure_stale(out: Path, tmp_path: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    moved = [replace(r, value=6.0, ci_low=6.0, ci_high=6.0) for r in records.records if r.metric == "safe_side_t250"]
    kept = [line for line in records.lines if getattr(line, "metric", "") != "safe_side_t250"]
    save(tmp_path / "records" / "figure1.jsonl", RecordSet.of([*kept, *moved]))
    (entry,) = found(tmp_path)
    result = entry.result
    assert isinstance(result, SpectraResult)
    drawing = drawing_of(result)
    assert drawing is not None
    assert drawing.digest != recorded_digest(out / "figures" / "figure1_spectra.png")
    render.render(tmp_path, [entry])
    assert "6 [6, 6]" in (tmp_path / "figure1.md").read_text(encoding="utf-8")


def test_a_panel_that_was_not_measured_is_not_shown(out: Path, tmp_path: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    kept = [line for line in records.lines if getattr(line, "variant", "") != "pixels"]
    save(tmp_path / "records" / "figure1.jsonl", RecordSet.of(kept))
    render.render(tmp_path, found(tmp_path))
    page = (tmp_path / "figure1.md").read_text(encoding="utf-8")
    assert "| Pixels of photographs" not in page
    assert "| Latents of photographs" in page


def law_field(exponent: float) -> torch.Tensor:
    """Latents (64, 4, 32, 32) of which the power falls with this exponent."""
    white = torch.randn(64, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    frequency = torch.hypot(torch.fft.fftfreq(32)[:, None], torch.fft.rfftfreq(32)[None]).clamp(min=1 / 32)
    return torch.fft.irfft2(torch.fft.rfft2(white) * frequency ** (-exponent / 2), s=(32, 32))


@pytest.mark.parametrize(
    ("exponent", "law", "masks"),
    [(2.0, "reproduced", "reproduced"), (0.0, "worse", "not reproduced"), (-2.0, "worse", "worse")],
)
def test_claims_get_the_verdicts_of_what_was_built(out: Path, exponent: float, law: str, masks: str) -> None:
    panel = spectra.PanelSpectra.of([law_field(exponent)], FIGURE.timesteps, FlowMatching())
    (run,) = load(out / "records" / "figure1.jsonl").runs
    records = RecordSet.of([run, *spectra.measured_lines(run, "scenes", panel, FIGURE)])
    verdicts = {judged.claim.key: judged.verdict for judged in SpectraResult(FIGURE, PROFILE, records).judgements}
    assert verdicts["power_law_scenes"] == law
    assert verdicts["masks_from_above_scenes"] == masks
    assert verdicts["power_law_pixels"] == "not measured"  # the profile has photographs
    assert not any("images" in key for key in verdicts)  # and no folder


def test_claims_stand_on_the_page(out: Path) -> None:
    page = (out / "figure1.md").read_text(encoding="utf-8")
    assert "The spectrum of latents of scenes falls about as a power law (R\u00b2 above 0.9)" in page
    assert "In pixels of photographs white noise masks octave by octave from above" in page


def test_a_single_image_decides_no_claim() -> None:
    panel = spectra.PanelSpectra.of([law_field(2.0)[:1]], (), FlowMatching())
    assert list(panel.numbers()) == []


def test_squares_of_a_photograph_belong_together() -> None:
    """Squares that repeat add nothing: intervals are those of the photographs."""
    once = law_field(2.0)[:6]
    alone = spectra.PanelSpectra.of([once], (), FlowMatching())
    groups = tuple(number for number in range(6) for _ in range(5))
    repeated = spectra.PanelSpectra.of([once.repeat_interleave(5, 0)], (), FlowMatching(), groups)
    for (key, first), (same, second) in zip(alone.numbers(), repeated.numbers(), strict=True):
        assert key == same
        assert second.value == pytest.approx(first.value, rel=1e-4)
        assert second.replicates == pytest.approx(first.replicates, rel=1e-3)


def test_a_second_run_measures_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(panel_spectra, "radial_spectrum", lambda _: pytest.fail("measured again"))
    options = SpectraOptions(out=out, work=out.parent / "work")
    spectra.run(replace(FIGURE, images=8), PROFILE, options)
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": [1.0]}, "2 places, 1 values and 2 errors"),
        ({"x": [0.5, 0.5]}, "must rise"),
        ({"x": [0.1, "high"]}, "field 'x' of a curve"),
    ],
)
def test_bad_curves_are_refused(changes: dict[str, object], message: str) -> None:
    line = {"kind": "curve", "schema": 2, "variant": "a", "metric": "b", "x": [0.1, 0.2], "y": [1, 2], "error": [0, 0]}
    assert isinstance(parse(json.dumps({**line, "n": 1}), Path("ok")).curves[0], Curve)
    with pytest.raises(RecordError, match=message):
        parse(json.dumps({**line, "n": 1, **changes}), Path("bad"))


def test_an_unknown_panel_is_named() -> None:
    with pytest.raises(UnknownNameError, match="scenes"):
        FIGURE.panel("scene")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, a torn one among them, and a text file."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, crop in zip(("a.png", "b.jpg", "more/c.png"), photograph_crops(128)[0], strict=False):
        Image.fromarray(crop.permute(1, 2, 0).numpy()).save(folder / name)
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:900])
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folder_of_images_is_read_and_a_torn_one_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = sources.folder(folder, 64, 10)
    assert (source.count, source.skipped) == (3, 1)
    assert "1 of 4 images are skipped" in capsys.readouterr().err
    (batch,) = source.batches(10)
    assert batch.shape == (3, 3, 64, 64)
    assert -1 <= batch.min() < batch.max() <= 1
    shutil.copy(folder / "b.jpg", folder / "z.jpg")
    assert sources.folder(folder, 64, 10).digest != source.digest


def test_bad_folders_are_named_before_any_work(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    shutil.copy(folder / "torn.png", tmp_path / "torn")
    for path, message in [
        (tmp_path / "nowhere", "nowhere is no folder"),
        (tmp_path / "empty", "holds no images"),
        (tmp_path / "torn", r"none of 1 images can be read; .*torn.png"),
    ]:
        with pytest.raises(ExperimentError, match=message):
            sources.folder(path, 64, 10)
    with pytest.raises(ExperimentError, match=r"a.png is 128 x 128 pixels, the largest scale needs 256 x 256"):
        sources.folder(folder, 256, 10)


REAL = replace(SD35, data=replace(SD35.data, resolution=64))
TINY = {"block_out_channels": (16, 16), "down_block_types": ("DownEncoderBlock2D",) * 2, "layers_per_block": 1}
TINY |= {"up_block_types": ("UpDecoderBlock2D",) * 2, "norm_num_groups": 8, "latent_channels": 16}


def measured(profile: Profile, out: Path, **options: Any) -> str:
    """The page of a run."""
    figure = replace(FIGURE, images=4)
    spectra.run(figure, profile, SpectraOptions(out=out, work=out / "work", device="cpu", **options))
    results = render.results(out, lambda _: FIGURE, lambda _: profile, kind_of)
    render.render(out, results)
    return (out / f"{profile.stem('figure1')}.md").read_text(encoding="utf-8")


def test_a_users_folder_and_pipeline_in_the_layout_of_sd35(folder: Path, tmp_path: Path) -> None:
    AutoencoderKL(**TINY, scaling_factor=1.5305, shift_factor=0.0609).save_pretrained(tmp_path / "pipeline" / "vae")
    page = measured(REAL, tmp_path / "out", images=folder, pipeline=str(tmp_path / "pipeline"))
    assert "| Latents of images |     32 |        3 |" in page
    assert "| Pixels of images  |     64 |        3 |" in page
    assert "1 files could not be read" in page
    assert "Random weights" not in page


def test_sdxl_has_no_shift_and_preserves_variance(folder: Path, tmp_path: Path) -> None:
    AutoencoderKL(**{**TINY, "latent_channels": 4}, shift_factor=None).save_pretrained(tmp_path / "pipeline" / "vae")
    profile = replace(SDXL, data=replace(SDXL.data, resolution=64))
    measured(profile, tmp_path / "out", images=folder, pipeline=str(tmp_path / "pipeline"))
    records = load(tmp_path / "out" / "records" / "figure1.sdxl.jsonl")
    (expected,) = (c for c in records.curves if (c.variant, c.metric) == ("images", "expected_t500"))
    (signal,) = (c for c in records.curves if (c.variant, c.metric) == ("images", "signal_t500"))
    noise = float(VariancePreserving().coefficients(0.5)[1]) ** 2
    assert expected.y[3] - signal.y[3] == pytest.approx(noise, rel=1e-3)


def test_a_tiny_autoencoder_lies_in_its_own_folder(folder: Path, tmp_path: Path) -> None:
    AutoencoderTiny(latent_channels=16).save_pretrained(tmp_path / "taesd3")
    profile = replace(SD35_TINY, data=replace(SD35_TINY.data, resolution=64))
    page = measured(profile, tmp_path / "out", images=folder, pipeline=str(tmp_path / "taesd3"))
    assert "| Latents of images |      8 |        3 |" in page


def test_random_weights_are_labelled(tmp_path: Path) -> None:
    profile = replace(REAL, weights=replace(REAL.weights, vae_config=TINY))
    page = measured(profile, tmp_path / "out", random_weights=True)
    assert "**Random weights: this shows that it runs" in page
    assert "| Latents of images |     32 |        4 |" in page


@pytest.mark.parametrize(
    ("profile", "options", "message"),
    [
        (REAL, {}, r"no images of MJHQ-30K in .*expected mjhq30k_imgs or \. with images. To get them: hf download"),
        (replace(REAL, data=replace(REAL.data, sources=())), {}, "no images of its own: give a folder with --images"),
        (REAL, {"random_weights": True, "device": "cuda:9"}, "CUDA"),
        (replace(REAL, weights=PROFILE.weights), {"random_weights": True}, "does not say the architecture"),
        (replace(PROFILE, weights=Weights(pipeline="nowhere/at-all")), {}, "cannot load the VAE of nowhere/at-all"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    profile: Profile, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if torch.cuda.is_available() and "CUDA" in message:
        pytest.skip("CUDA is there")
    with pytest.raises(ExperimentError, match=message):
        spectra.run(FIGURE, profile, SpectraOptions(out=tmp_path, work=tmp_path, **options))


def test_drawing_needs_no_torch() -> None:
    code = "import repro.kinds.spectra.page, repro.figure1, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
