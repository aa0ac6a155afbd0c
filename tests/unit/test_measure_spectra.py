"""Figure 1: the photographs, what is measured, and its page and picture from the records."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from repro.figure1 import FIGURE
from repro.harness import render, spectra_page
from repro.harness.experiment import Profile, UnknownNameError
from repro.harness.options import RunOptions
from repro.harness.plots import recorded_digest
from repro.harness.records import Curve, RecordError, RecordSet, load, parse, save
from repro.measure import spectra
from repro.measure.photographs import FILES, photograph_crops
from repro.profiles.smoke import PROFILE
from swd.flow import FlowMatching
from swd.spectra import safe_side


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figure, measured on a few images."""
    folder = tmp_path_factory.mktemp("figure1")
    figure = replace(FIGURE, images=8)
    spectra.run(figure, PROFILE, RunOptions(out=folder / "out", work=folder / "work", command="test"))
    render.render(folder / "out", found(folder / "out"))
    return folder / "out"


def found(out: Path) -> list[render.AnyResult]:
    def profile(name: str) -> Profile:
        assert name == "smoke"
        return PROFILE

    return render.results(out, lambda _: FIGURE, profile)


def test_the_photographs_tile_alike_every_time() -> None:
    crops = photograph_crops(64)
    assert crops.shape == (94, 3, 64, 64)  # 16 + 6 + 12 + 15 + 15 + 15 + 15
    assert len(FILES) == 7
    assert torch.equal(crops, photograph_crops(64))
    assert crops.float().std((1, 2, 3)).min() > 2  # none is blank


def test_the_curves_obey_the_noise_process() -> None:
    samples = torch.randn(64, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    panel = spectra.PanelSpectra.of(samples, (500,), FlowMatching())
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
    assert {record.variant for record in records.records} == {panel.key for panel in FIGURE.panels}
    assert {record.metric for record in records.records} == {column.key for column in FIGURE.columns}
    assert all(r.ci_low <= r.value <= r.ci_high for r in records.records if r.metric == "exponent")
    assert len(records.curves) == len(FIGURE.panels) * (1 + 3 * len(FIGURE.timesteps))


def test_the_safe_side_is_that_of_the_latents(out: Path) -> None:
    vae = AutoencoderKL.from_pretrained(spectra.ROOT / PROFILE.pipeline / "vae")
    panel = FIGURE.panel("photographs")
    latents = spectra._samples(panel, photograph_crops(64)[:8], vae)
    records = load(out / "records" / "figure1.jsonl")
    for timestep in FIGURE.timesteps:
        (record,) = records.find("photographs", "", f"safe_side_t{timestep}")
        assert record.value == safe_side(spectra.radial_spectrum(latents).mean(), timestep / 1000)
        assert record.n == 8


def test_more_noise_never_asks_for_a_larger_side(out: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    for panel in FIGURE.panels:
        sides = [records.find(panel.key, "", f"safe_side_t{t}")[0].value for t in FIGURE.timesteps]
        assert sides == sorted(sides, reverse=True)


def test_page_and_figure_follow_from_the_records(out: Path) -> None:
    page = (out / "figure1.md").read_text(encoding="utf-8")
    assert "| Latents of scenes      |     32 |        8 |" in page
    assert "![Figure 1" in page
    assert "figure1.md" in (out / "README.md").read_text(encoding="utf-8")
    assert render.check(out, found(out)) == []
    assert render.render(out, found(out)) == []


def test_other_numbers_make_page_and_figure_stale(out: Path, tmp_path: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    moved = [replace(r, value=6.0, ci_low=6.0, ci_high=6.0) for r in records.records if r.metric == "safe_side_t250"]
    kept = [line for line in records.lines if getattr(line, "metric", "") != "safe_side_t250"]
    save(tmp_path / "records" / "figure1.jsonl", RecordSet.of([*kept, *moved]))
    (result,) = found(tmp_path)
    assert isinstance(result, spectra_page.SpectraResult)
    assert result.digest != recorded_digest(out / "figures" / "figure1_spectra.png")
    render.render(tmp_path, [result])
    assert "6 [6, 6]" in (tmp_path / "figure1.md").read_text(encoding="utf-8")


def test_a_panel_that_was_not_measured_is_left_open(out: Path, tmp_path: Path) -> None:
    records = load(out / "records" / "figure1.jsonl")
    kept = [line for line in records.lines if getattr(line, "variant", "") != "pixels"]
    save(tmp_path / "records" / "figure1.jsonl", RecordSet.of(kept))
    render.render(tmp_path, found(tmp_path))
    (row,) = (line for line in (tmp_path / "figure1.md").read_text().splitlines() if "Pixels of photographs" in line)
    assert row.count("\u2014") == 2 + len(FIGURE.columns)


def test_a_second_run_measures_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spectra, "radial_spectrum", lambda _: pytest.fail("measured again"))
    options = RunOptions(out=out, work=out.parent / "work")
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
    line = {"kind": "curve", "schema": 1, "variant": "a", "metric": "b", "x": [0.1, 0.2], "y": [1, 2], "error": [0, 0]}
    assert isinstance(parse(json.dumps({**line, "n": 1}), Path("ok")).curves[0], Curve)
    with pytest.raises(RecordError, match=message):
        parse(json.dumps({**line, "n": 1, **changes}), Path("bad"))


def test_an_unknown_panel_is_named() -> None:
    with pytest.raises(UnknownNameError, match="scenes"):
        FIGURE.panel("scene")


def test_drawing_needs_no_torch() -> None:
    import subprocess

    code = "import repro.harness.spectra_page, repro.figure1, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
