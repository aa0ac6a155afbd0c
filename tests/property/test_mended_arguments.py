"""What searches over arguments have found, each kind once: what was bent, crashed inside or never came back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_lines import run
from study_world import tiny_study

from repro import __main__ as repro_cli
from swd import ScaleSchedule, cache, export, losses, preset, sigma_grid, train
from swd.cost.inference import schedule_cost
from swd.data.build import cache_ladder
from swd.errors import ConfigError, StudyError
from swd.flow import FlowMatching, guide
from swd.grid import TokenShift
from swd.growth import lift_estimate
from swd.resize import downscale_area, upscale
from swd.sampler import seed_rngs
from swd.spectra import radial_spectrum, schedule_from_spectrum
from swd.spectral_budget import fill_budget
from swd.training.config import DistillConfig

MAPS, TOKENS = torch.ones(2, 3, 4, 4), torch.ones(2, 5, 3)
WHOLE = MAPS.long()


def option(**options: Any) -> DistillConfig:
    return DistillConfig(**{"preset": "mini-4", **options})


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "texts as levels": (lambda: ScaleSchedule((8,), ("1.0", "0.0")), "sigmas must be a list of numbers, got '1.0'"),
    "truth as a level": (lambda: ScaleSchedule((8,), (True, False)), "sigmas must be a list of numbers, got True"),
    "one scale": (lambda: ScaleSchedule(8, (1.0, 0.0)), "scales must be a list, got 8"),
    "a side without an end": (lambda: ScaleSchedule((2**40,), (1.0, 0.0)), "scales must be at most 65536"),
    "thousands of digits": (lambda: preset("mini-4").until(10**5000), "at scale a number of thousands of digits"),
    "a preset that is no text": (lambda: preset(["mini-4"]), r"named by one of sd35-6, .* got \['mini-4'\] \(list\)"),
    "steps as text": (lambda: sigma_grid("28"), "num_steps must be a whole number, got '28'"),
    "more steps than there are": (lambda: sigma_grid(10**9), "num_steps must be from 1 to 1000"),
    "a shift that overflows": (lambda: TokenShift().at(10**9), "num_tokens must be from 1 to 1048576"),
    "an option as text": (lambda: option(lr="1e-4"), "lr must be a number, got '1e-4'"),
    "truth as a count": (lambda: option(iterations=True), "iterations must be a whole number, got True"),
    "a number as truth": (lambda: option(progress=1), "progress must be true or false, got 1"),
    "a part of a count": (lambda: option(batch_size=2.5), "batch_size must be a whole number, got 2.5"),
    "one number for two": (lambda: option(betas=0.9), "betas must be a list of 2 values, each a number, got 0.9"),
    "whole numbers in a loss": (lambda: losses.dmd_loss(WHOLE, WHOLE), "x0 must hold floating-point numbers"),
    "nothing in a loss": (lambda: losses.gan_student_loss(torch.empty(0)), "fake_logits must hold at least one"),
    "shapes that broadcast": (lambda: losses.dmd_loss(MAPS, MAPS[:1]), r"of one shape, got \(2, 3, 4, 4\) and \(1, 3"),
    "a width without a value": (lambda: losses.pdm_linear(TOKENS, TOKENS, huber_c=float("inf")), "huber_c must be"),
    "NaN as a length": (lambda: losses.median_distance(TOKENS * float("nan")), "tokens hold NaN"),
    "noise of one image": (lambda: FlowMatching().add_noise(MAPS, MAPS[:1], 0.5), "must be of one shape"),
    "levels of other images": (lambda: FlowMatching().add_noise(MAPS, MAPS, torch.ones(3)), "one for each of 2 images"),
    "a level above 1": (lambda: FlowMatching().add_noise(MAPS, MAPS, 1.5), "sigma must be from 0 to 1, got 1.5"),
    "guidance without end": (lambda: guide(MAPS, MAPS, float("inf")), "guidance_scale must be finite, got inf"),
    "x0 of other images": (lambda: lift_estimate(MAPS, MAPS[:1], torch.ones(2, 3, 8, 8), 0.5), "x_t and x0 must be"),
    "one side for two": (lambda: upscale(MAPS, 8, "bicubic"), "size must be a list, got 8"),
    "sides of 0": (lambda: downscale_area(MAPS, (0, 4)), "size must be from 1 to 65536, got 0"),
    "whole numbers as images": (lambda: radial_spectrum(WHOLE), "x must hold floating-point numbers"),
    "levels that do not fall": (
        lambda: fill_budget(radial_spectrum(MAPS).mean(), sigmas=(1.0, 1.0, 0.0), num_tokens=99),
        "sigmas must fall strictly",
    ),
    "seeds as text": (lambda: seed_rngs(["3"]), "seeds must be a list of whole numbers or torch generators, got '3'"),
    "one seed": (lambda: seed_rngs(3), "seeds must be a list, got 3"),
    "a text of ladders": (lambda: cache_ladder("48"), "schedules must be a list, got '48'"),
    "sides above the largest": (
        lambda: schedule_from_spectrum(radial_spectrum(MAPS).mean(), sigmas=(1.0, 0.5, 0.0), least=9),
        "least must be from 0 to 4, got 9",
    ),
    "no schedule": (lambda: schedule_cost(object(), None), "schedule must be a ScaleSchedule"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_was_bent_or_crashed_inside_is_refused(kind: str) -> None:
    call, message = REFUSED[kind]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_numbers_of_other_libraries_become_pythons_own() -> None:
    made = option(
        iterations=np.int64(7), lr=np.float32(0.5), seed=torch.tensor(3), scales=[8, 16], boundaries=(0, 7, 28)
    )
    assert (made.iterations, made.lr, made.seed, made.scales) == (7, 0.5, 3, (8, 16))
    assert made.as_json() == option(iterations=7, lr=0.5, seed=3, scales=(8, 16), boundaries=(0, 7, 28)).as_json()
    schedule = ScaleSchedule(np.array([8, 16]), torch.tensor([1.0, 0.5, 0.0]))
    assert schedule == ScaleSchedule((8, 16), (1.0, 0.5, 0.0))
    assert option(lr=1).as_json()["lr"] == 1, "an integer stays one: files are known by it"


def test_tokens_of_two_widths_have_a_distance() -> None:
    value = losses.pdm_rbf(TOKENS.double(), 2 * TOKENS, bandwidth=1.0)
    torch.testing.assert_close(value, losses.pdm_rbf(TOKENS, 2 * TOKENS, bandwidth=1.0).double(), rtol=1e-5, atol=1e-6)


MAINS = {"repro": repro_cli.main, "train": train.main, "cache": cache.main, "export": export.main}
TYPED = {
    "repro": ["table3", "--pipeline"],
    "train": ["--preset", "mini-4", "--data", "d", "--output", "o", "--pipeline"],
    "cache": ["--presets", "mini-4", "--images", "i", "--output", "o", "--pipeline"],
    "export": ["--output", "o", "--weight-name", "w", "--revision"],
}


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize("word", ["", "  "])
def test_an_empty_word_is_no_value(name: str, word: str) -> None:
    ended = run(MAINS[name], [*TYPED[name], word])
    assert ended.status in (1, 2)
    assert f"error: an argument after {TYPED[name][-1]} is empty" in ended.err


@pytest.mark.parametrize("path", ["loop", "x" * 300])
def test_paths_without_an_end_are_refused_in_one_line(path: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    place = str(tmp_path / path)
    needed = ["--pipeline", "p", "--output", "o"]
    for main, words in (
        (repro_cli.main, ["render", "--out", place]),
        (repro_cli.main, ["table3", "--pipeline", place]),
        (train.main, ["--preset", "mini-4", *needed, "--data", place]),
        (cache.main, ["--presets", "mini-4", *needed, "--images", place]),
        (export.main, [place, "--output", "o"]),
    ):
        ended = run(main, words)
        assert ended.status in (1, 2)
        assert ended.err.startswith("error: "), ended
        assert "is no path that can be used" in ended.err, ended


def test_a_home_folder_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    command = train.parse(["--preset", "mini-4", "--pipeline=~/p", "--data=~/d", "--output=~/o"])
    assert (command.pipeline, command.data) == (str(tmp_path / "p"), tmp_path / "d")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(StudyError, match="pipe"):
        train.read_study(pipe)
    for words in (["status", str(pipe)], ["report", str(pipe)], ["import", str(pipe), "--out", "v.csv"]):
        ended = run(repro_cli.main, ["study", *words])
        assert ended.status in (1, 2)
        assert "is a pipe" in ended.err


def test_scales_of_a_cache_that_no_network_has_end_in_one_line() -> None:
    from conftest import make_transformer

    from swd.backbones.sd3.denoiser import SD3Denoiser
    from swd.data.checks import check_scales

    with pytest.raises(ConfigError, match="scales must be at most"):
        check_scales([(10**6,)], SD3Denoiser(make_transformer()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serve", "--port", "65536"], "--port must be from 0 to 65535"),
        (["serve", "--rate", "0"], "--rate must be a number of requests a second above 0"),
        (["invite", "--count", "1000000"], "--count must be from 1 to 10000"),
    ],
)
def test_numbers_of_a_study_have_their_ranges(words: list[str], message: str, tmp_path: Path) -> None:
    study = tiny_study(tmp_path, prompts=2, criteria=["defects"], side=8)
    ended = run(repro_cli.main, ["study", words[0], str(study.file), *words[1:]])
    assert ended.status in (1, 2)
    assert message in ended.err
