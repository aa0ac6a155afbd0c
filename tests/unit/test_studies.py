"""Study files that ship: what was published, as options that this version knows."""

from dataclasses import replace
from pathlib import Path

import pytest

from repro import experiments
from repro.harness.plan import resolve
from repro.profiles import load_profile
from swd.train import parse
from swd.training.config import DistillConfig

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "studies"
GIVEN = ["--pipeline", "p", "--data", "d", "--output", "o"]


def study(name: str) -> DistillConfig:
    return parse(["--study", str(STUDIES / f"{name}.toml"), *GIVEN]).distill


@pytest.mark.parametrize(
    ("name", "guidance", "block", "batch", "iterations"),
    [("sd35-medium", 7.0, 11, 64, 3000), ("sd35-large", 4.5, 20, 32, 4000)],
)
def test_settings_of_the_released_scripts(name: str, guidance: float, block: int, batch: int, iterations: int) -> None:
    config = study(name)
    found = (config.guidance_scale, config.feature_block, config.batch_size, config.iterations)
    assert found == (guidance, block, batch, iterations)
    assert (config.precision, config.lr, config.sample_latents, config.pdm_features) == ("bf16", 5e-6, True, "fake")
    assert config.schedule().scales == (64, 80, 96, 128)


def test_the_mini_study_is_the_scalewise_student_of_the_mini_profile() -> None:
    profile = load_profile("mini")
    (row,) = [row for row in experiments()["table2"].rows if row.key == "scalewise_4"]
    trained = resolve(profile, row).training
    assert study("mini").as_json() == replace(trained, progress=True).as_json()
    given = ["--study", str(STUDIES / "mini.toml"), "--data", "d", "--output", "o"]
    assert parse(given).pipeline == profile.weights.pipeline


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_study_is_a_run(path: Path) -> None:
    assert study(path.stem).schedule().num_steps >= 1
