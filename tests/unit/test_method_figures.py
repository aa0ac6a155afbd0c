"""Figures 2 and 3: what is refused, pages and pictures of made-up numbers, and the real ones in smoke."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from harness_world import RUN
from training_world import fresh_accelerate

from repro import __main__ as cli
from repro.figure2 import FIGURE as TRAINING
from repro.figure3 import FIGURE as SAMPLING
from repro.harness import render
from repro.harness.experiment import ExperimentError, UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.plots import recorded_digest
from repro.harness.records import RecordSet, load
from repro.harness.schema import Record, Series
from repro.harness.systems import HubFile
from repro.kinds import kind_of
from repro.kinds.method import keys, measure
from repro.kinds.method.figure import draw
from repro.kinds.method.options import MethodOptions, add_arguments, make_options
from repro.kinds.method.page import page
from repro.kinds.method.result import MethodResult
from repro.kinds.method.training_figure import COMPARED, NAMES
from repro.profiles.mini import PROFILE as MINI
from repro.profiles.sd35_medium import PROFILE as SD35
from repro.profiles.smoke import PROFILE
from swd.flow import FlowMatching
from swd.resize import upscale
from swd.sampler import draw_noise, seed_rngs
from swd.schedule import preset

LOSSES = {"pdm": 0.25, "dmd": 0.5, "gan": 2.0, "total": 0.76, "fake": 0.125, "discriminator": 1.5}


def typed(*words: str) -> Namespace:
    parser = ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def common(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(out=out, work=out.parent / "work", command="test", **changes)


@pytest.mark.parametrize(
    ("figure", "profile", "words", "error", "message"),
    [
        (TRAINING, MINI, ["--step", "6"], UsageError, "--step 6: the schedule of scalewise_6 has steps 0 to 5"),
        (TRAINING, MINI, ["--step", "-1"], UsageError, "steps 0 to 5"),
        (TRAINING, MINI, ["--image", "24"], UsageError, "--image 24: the batch of a training step has images 0 to 23"),
        (TRAINING, PROFILE, ["--image", "4"], UsageError, "images 0 to 3"),
        (TRAINING, MINI, ["--prompts", "short"], UsageError, "reads no set of prompts"),
        (TRAINING, SD35, [], ExperimentError, "profile sd35-medium has no adapters that ship"),
        (SAMPLING, MINI, ["--image", "250"], UsageError, "the set of prompts compositional has images 0 to 249"),
        (SAMPLING, MINI, ["--step", "0"], UsageError, "figure3 shows every step"),
        (SAMPLING, MINI, ["--prompts", "shrt"], UnknownNameError, "did you mean short"),
        (SAMPLING, replace(SD35, weights=replace(SD35.weights, released={})), [], ExperimentError, "no student"),
    ],
)
def test_what_does_not_exist_is_refused(
    tmp_path: Path, figure: Any, profile: Any, words: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_options(figure, profile, typed(*words), common(tmp_path))


def test_another_picture_stays_out_of_the_committed_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"with --image, --step this is another picture than figure2 stands for"):
        make_options(TRAINING, MINI, typed("--image", "1", "--step", "2"), common(tmp_path, committed=True))
    made = make_options(TRAINING, MINI, typed("--image", "1", "--step", "2"), common(tmp_path))
    assert (made.image, made.step) == (1, 2)
    made = make_options(TRAINING, MINI, typed(), common(tmp_path, committed=True))
    assert (made.image, made.step) == (TRAINING.image, TRAINING.step)


def test_a_published_student_is_sampled_in_its_own_profile(tmp_path: Path) -> None:
    made = make_options(SAMPLING, SD35, typed("--image", "3"), common(tmp_path))
    assert made.prompts in {prompts.key for prompts in SD35.prompt_sets}
    assert SAMPLING.schedule(SD35) == preset("sd35-6")


@pytest.mark.parametrize("step", range(6))
def test_the_last_iteration_is_one_of_the_step(step: int) -> None:
    for profile, cycles in ((MINI, TRAINING.cycles), (PROFILE, 0)):
        training = TRAINING.training(profile, step)
        assert training.iterations == 6 * cycles + step + 1
        assert (training.iterations - 1) % 6 == step


def pictures(names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 255, (16, 16, 3), dtype=np.uint8) for name in names}


def made_training() -> MethodResult:
    own = {
        keys.STEP: 4, keys.ITERATION: 16, keys.SIDE: 24, keys.LOWER: 20, keys.SIGMA: 0.75, keys.SIGMA_PDM: 0.5,
        keys.SIGMA_DMD: 0.625, keys.SIGMA_FAKE: 0.125, keys.UPSCALED_ERROR: 0.375, keys.PREDICTED_ERROR: 0.3125,
        "weight_pdm": 1.0, "weight_dmd": 1.0, "weight_gan": 0.005, "weight_discriminator": 0.01,
    }  # fmt: skip
    own |= {keys.loss(term): value for term, value in LOSSES.items()}
    config = {
        "training": {"batch_size": 24, "preset": "mini-6", "fake_updates": 2},
        "shown": {"image": 0, "row": 17, "caption": "a red star"},
    }
    run = replace(RUN, table="figure2", profile="smoke", config=config)
    lines = [run, *(Record.of(run, keys.STUDENT, metric, float(value)) for metric, value in own.items())]
    return MethodResult(TRAINING, PROFILE, RecordSet.of(lines))


def made_sampling() -> MethodResult:
    steps = {
        keys.SIDES: (8.0, 16.0, 32.0), keys.SIGMAS: (1.0, 0.75, 0.5), keys.TIMESTEPS: (1000.0, 750.0, 500.0),
        keys.NOISY: (1.0, 0.9, 0.8), keys.PREDICTED: (1.1, 1.2, 1.3), keys.CHANGE: (0.0, 0.25, 0.125),
    }  # fmt: skip
    config = {"prompts": "short", "shown": {"image": 0, "caption": "a blue ring", "seed": 7}}
    run = replace(RUN, table="figure3", profile="smoke", config=config)
    series = [Series.of(keys.STUDENT, metric, values, over="step") for metric, values in steps.items()]
    return MethodResult(SAMPLING, PROFILE, RecordSet.of([run, *series]))


def of_sampling() -> dict[str, Any]:
    return pictures([f"{name} {step}" for step in range(3) for name in ("x_t", "x0", "upscaled")])


@pytest.mark.parametrize(
    ("result", "shown"), [(made_training(), pictures([*NAMES, *COMPARED])), (made_sampling(), of_sampling())]
)
def test_the_same_pictures_and_numbers_give_the_same_bytes(
    tmp_path: Path, result: MethodResult, shown: Mapping[str, Any]
) -> None:
    first = draw(result, shown)
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "other", "axes.facecolor": "yellow"}):
        assert draw(result, shown) == first
    for name, data in zip(("a.png", "a.svg"), first.files, strict=True):
        (tmp_path / name).write_bytes(data)
        assert recorded_digest(tmp_path / name) == first.digest
        assert len(data) < 400_000
        (tmp_path / name).write_bytes(data[:-20])
        assert recorded_digest(tmp_path / name) is None
    assert b"<dc:date>" not in first.files[1]
    name = next(iter(shown))
    assert draw(result, {**shown, name: 255 - shown[name]}).digest != first.digest
    with pytest.raises(ValueError, match=f"not there: {next(n for n in shown if not n.startswith('upscaled'))}"):
        draw(result, {key: value for key, value in shown.items() if key.startswith("upscaled")})


def test_the_page_of_training_shows_every_term(tmp_path: Path) -> None:
    text = page(made_training(), tmp_path)
    assert "a red star" in text
    assert "**Iteration 16 of a training that begins with the student that ships**" in text
    assert "have had 34 updates" in text
    rows = {cells[0]: cells[1:] for cells in tables(text)}
    assert rows["GAN, student's side"] == ["2.00000", "0.005", "0.01000"]
    assert rows["Student's total"] == ["0.76000", "\u2014", "\u2014"]
    assert rows["Discriminator"] == ["1.50000", "0.01", "0.01500"]
    assert rows["Noise level of the student's input, sigma"] == ["0.7500"]
    assert "![" not in text


def test_the_page_of_sampling_shows_every_step(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "figure3_sampling.png").write_bytes(b"")
    text = page(made_sampling(), tmp_path)
    rows = {cells[0]: cells[1:] for cells in tables(text)}
    assert rows["1"] == ["16", "0.7500", "750", "0.900", "1.200", "0.250"]
    assert rows["0"][-1] == "\u2014"
    assert "![Figure 3: sampling along the scales](figures/figure3_sampling.png)" in text
    assert "as SVG" not in text


def tables(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both figures of the shipped student, on a few images."""
    out = tmp_path_factory.mktemp("method") / "out"
    figure = replace(TRAINING, images=8)
    with fresh_accelerate():
        measure.run(figure, PROFILE, MethodOptions(out=out, work=out.parent / "work", command="test", step=1))
    options = MethodOptions(out=out, work=out.parent / "work", command="test", prompts="compositional")
    measure.run(SAMPLING, PROFILE, options)
    render.render(out, found(out))
    return out


def found(out: Path) -> list[render.Entry]:
    figures = {"figure2": TRAINING, "figure3": SAMPLING}
    return render.results(out, figures.__getitem__, lambda _: PROFILE, kind_of)


def test_the_losses_are_those_of_the_training(measured: Path) -> None:
    numbers = MethodResult(TRAINING, PROFILE, load(measured / "records" / "figure2.jsonl")).numbers
    assert numbers[keys.ITERATION] == 1
    assert (numbers[keys.LOWER], numbers[keys.SIDE]) == (8, 12)
    total = sum(numbers[keys.weight(term)] * numbers[keys.loss(term)] for term in ("pdm", "dmd", "gan"))
    assert numbers[keys.loss("total")] == pytest.approx(total, rel=1e-5)
    assert 0 < numbers[keys.PREDICTED_ERROR] < 2  # of latents of about unit power


def test_every_step_of_sampling_is_the_samplers(measured: Path) -> None:
    records = load(measured / "records" / "figure3.jsonl")
    result = MethodResult(SAMPLING, PROFILE, records)
    schedule = preset("mini-6")
    assert result.steps(keys.SIDES) == schedule.scales
    assert result.steps(keys.SIGMAS) == pytest.approx(schedule.sigmas[:-1], rel=1e-5)
    noise = draw_noise(seed_rngs([result.shown["seed"]]), (4, 8, 8), "cpu")
    assert result.steps(keys.NOISY)[0] == pytest.approx(float(noise.square().mean().sqrt()), rel=1e-5)


def test_what_is_shown_as_upscaled_is_what_the_next_step_starts_from() -> None:
    options = MethodOptions(out=Path("nowhere"), work=Path("nowhere"), prompts="short")
    runner = measure._Sampling(SAMPLING, PROFILE, options)
    prompt = runner._prompts[0]
    taken = runner._take(prompt)
    rngs, schedule = seed_rngs([prompt["seed"]]), preset("mini-6")
    noises = [draw_noise(rngs, (4, side, side), "cpu") for side in schedule.scales]
    for step in range(1, 6):
        upscaled = upscale(taken[step - 1][1], taken[step][1].shape[-2:], "bicubic")
        x_t = FlowMatching().add_noise(upscaled, noises[step], schedule.sigmas[step])
        torch.testing.assert_close(taken[step][0], x_t)


def test_pages_and_pictures_stand_as_the_run_left_them(measured: Path) -> None:
    assert render.check(measured, found(measured)) == []
    for name in ("figure2_training.svg", "figure3_sampling.png"):
        path = measured / "figures" / name
        kept = path.read_bytes()
        path.write_bytes(b"something else")
        assert [stale.path.name for stale in render.check(measured, found(measured))] == [name]
        path.write_bytes(kept)


def test_a_second_run_does_nothing(
    measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "trained", lambda *_: pytest.fail("trained again"))
    options = MethodOptions(out=measured, work=measured.parent / "work", command="test", step=1)
    measure.run(replace(TRAINING, images=8), PROFILE, options)
    assert "nothing to do" in capsys.readouterr().err


def test_a_released_student_is_sampled_from_where_it_lies(measured: Path, tmp_path: Path) -> None:
    released = {"scalewise_6": HubFile(f"{PROFILE.weights.adapters.folder}/scalewise_6")}
    profile = replace(PROFILE, weights=replace(PROFILE.weights, adapters=None, released=released))
    options = MethodOptions(out=tmp_path / "out", work=tmp_path / "work", command="test", prompts="compositional")
    measure.run(SAMPLING, profile, options)
    ours, theirs = (load(out / "records" / "figure3.jsonl").series for out in (measured, tmp_path / "out"))
    assert ours == theirs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pipeline": "nowhere"}, "no pipeline in .*nowhere"),
        ({"adapters": replace(MINI.weights.adapters, folder="nowhere")}, "no adapter for scalewise_6 in .*nowhere"),
    ],
)
def test_missing_weights_are_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(measure, "load_pipeline", lambda *_: pytest.fail("loaded"))
    profile = replace(PROFILE, weights=replace(PROFILE.weights, **changes))
    for figure in (TRAINING, SAMPLING):
        options = MethodOptions(out=tmp_path / "out", work=tmp_path / "work", command="test", prompts="short")
        with pytest.raises(ExperimentError, match=message):
            measure.run(figure, profile, options)


@pytest.mark.parametrize("words", [["figure2", "--stp", "1"], ["figure3", "--image", "first"]])
def test_unknown_arguments_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert words[1] in capsys.readouterr().err
