import json
from dataclasses import replace
from pathlib import Path

import pytest
from training_world import CONFIG, config

from repro.stages.students import VERSION
from swd.errors import ConfigError
from swd.schedule import PRESETS, preset
from swd.training import DistillConfig
from swd.training.config import differences


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"seed": -1}, "seed must be at least 0 and below 4294967296, got -1"),
        ({"seed": 2**32}, "seed must be at least 0 and below 4294967296, got 4294967296"),
        ({"batch_size": -2}, "batch_size must be at least 1"),
        ({"fake_updates": -1}, "fake_updates must not be negative"),
        ({"lr": 0.0}, "lr must be finite and positive"),
        ({"lr": float("nan")}, "lr must be finite and positive"),
        ({"lr_fake": -1.0}, "lr_fake must be finite and positive"),
        ({"weight_dmd": float("inf")}, "weight_dmd must be finite"),
        ({"weight_pdm": -1.0}, "weight_pdm must be finite and not negative"),
        ({"ema_decay": 1.0}, "ema_decay must be between"),
        ({"dmd_indices": (12, 29)}, "dmd_indices must be a range inside"),
        ({"pdm_indices": (20, 20)}, "pdm_indices must be a range inside"),
        ({"boundaries": None}, "scales and boundaries"),
        ({"weight_pdm": 0.0, "weight_dmd": 0.0, "weight_gan": 0.0}, "nothing to train"),
        ({"weight_dmd": 1.0, "fake_updates": 0}, "need a fake model that is trained"),
        ({"betas": (0.9, 1.0)}, "betas must be at least 0 and below 1"),
        ({"betas": (-0.1, 0.9)}, "betas must be at least 0 and below 1"),
        ({"betas": (float("nan"), 0.9)}, "betas must be at least 0 and below 1"),
        ({"pdm_huber_c": 0.0}, "pdm_huber_c must be finite and positive"),
        ({"guidance_scale": float("inf")}, "guidance_scale must be finite"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be finite"),
        ({"weight_gan_discriminator": 0.0}, "weight_gan needs a discriminator that is trained"),
        ({"pdm_pool_batch": True, "pdm_kernel": "naive"}, "pdm_kernel naive compares place by place"),
        ({"pdm_pool_batch": True, "micro_batch_size": 1}, "needs the whole batch in one pass"),
        ({"micro_batch_size": 0}, "micro_batch_size must be at least 1"),
    ],
)
def test_bad_options_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="mini-6"):
        DistillConfig(preset="mini6").schedule()


def test_own_scales_replace_the_preset() -> None:
    schedule = config(scales=(4, 4, 8), boundaries=(0, 7, 14, 28)).schedule()
    assert schedule.scales == (4, 4, 8)
    assert schedule.sigmas == pytest.approx((1.0, 0.8959, 0.7371, 0.0), abs=1e-4)


@pytest.mark.parametrize("name", ["sd35-6", "mini-4", "flux-4"])
@pytest.mark.parametrize("shift", [3.0, 6.0])
def test_student_starts_at_levels_of_the_grid_that_the_losses_draw_from(name: str, shift: float) -> None:
    options = DistillConfig(preset=name, shift=shift)
    grid = options.sigma_grid()
    expected = tuple(grid[boundary] for boundary in PRESETS[name].boundaries)
    assert options.schedule().sigmas == expected
    assert (options.schedule() == preset(name)) == (shift == 3.0)
    own = DistillConfig(preset=name, shift=shift, scales=(8, 8), boundaries=(0, 18, 28))
    assert own.schedule().sigmas == (grid[0], grid[18], grid[28])


def test_own_boundaries_reach_into_a_finer_grid() -> None:
    options = config(boundaries=(0, 20, 40), grid_steps=40, shift=5.0)
    assert options.schedule().sigmas == tuple(options.sigma_grid()[index] for index in (0, 20, 40))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "sdxl-4", "shift": 6.0}, "variance-preserving process has no time shift: shift must be 1, got 6"),
        ({"preset": "sdxl-4", "grid_steps": 60}, "cut from 50 steps of a variance-preserving process, the grid has 60"),
        (
            {"preset": "sdxl-4", "grid": "sd35"},
            "cut from 50 steps of a var.*, the grid has 28 of flow: give scales",
        ),
        ({"preset": "sdxl-4", "grid": "sd15"}, "grid must be one of sd35, sd35-even, flux, sdxl, got 'sd15'"),
        ({"preset": "mini-6", "grid_steps": 40}, "cut from 28 steps of a flow process, the grid has 40 of flow: give"),
        ({"preset": "mini-6", "grid": "sdxl"}, "cut from 28 steps of a flow process, the grid has 50 of variance-pres"),
        ({"preset": "mini-6", "shift": 0.0}, "shift must be finite and positive, got 0.0"),
        ({"preset": "mini-6", "shift": float("inf")}, "shift must be finite and positive, got inf"),
        ({"preset": "mini-6", "grid_steps": 0}, "grid_steps must be from 1 to 1000, got 0"),
    ],
)
def test_preset_that_does_not_fit_the_grid_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DistillConfig(**changes).schedule()


def test_a_preset_brings_the_grid_of_its_family() -> None:
    options = DistillConfig(preset="sdxl-4")
    assert options.schedule() == preset("sdxl-4")
    levels = options.sigma_grid()
    assert levels == pytest.approx([t / 1000 for t in range(1000, -1, -20)])
    assert levels[options.teacher_grid.pdm_indices[0]] == 0.4
    assert levels[options.teacher_grid.dmd_indices[0]] == 0.8
    assert options.as_json()["shift"] == 1.0
    assert options.as_json()["pdm_indices"] == [30, 50]
    assert replace(options, preset="sd35-6").as_json()["dmd_indices"] == [12, 28]


def test_levels_of_the_losses_are_those_of_the_paper() -> None:
    grid = CONFIG.sigma_grid()
    levels = [1000 * grid[index] for index in (12, 18, 27)]
    assert levels == pytest.approx([790.4, 602.2, 8.9], abs=0.1)


def test_fake_model_is_trained_only_when_a_term_reads_it() -> None:
    alone = {"weight_dmd": 0.0, "weight_gan": 0.0}
    assert CONFIG.uses_fake
    assert not config(**alone).uses_fake
    assert config(**alone, pdm_features="fake").uses_fake


def test_differences_ignore_what_moves_no_number() -> None:
    saved = CONFIG.as_json()
    assert differences(saved, config(iterations=9, keep_last=7, progress=True, checkpoint_every=9)) == []
    assert differences(saved, config(micro_batch_size=1, gradient_checkpointing="full")) == []
    assert differences(saved, config(lr=0.5, seed=3)) == ["lr: 0.01 -> 0.5", "seed: 0 -> 3"]


def test_option_that_is_newer_than_the_saved_run_had_its_default() -> None:
    saved = CONFIG.as_json()
    del saved["weight_decay"]
    assert differences(saved, CONFIG) == []
    assert differences(saved, config(weight_decay=0.5)) == ["weight_decay: 0.01 -> 0.5"]


def test_a_training_is_known_by_preset_iterations_and_what_is_not_at_its_default() -> None:
    plain = DistillConfig(preset="mini-6")
    assert plain.identity() == {"preset": "mini-6", "iterations": plain.iterations}
    changed = DistillConfig(preset="mini-6", iterations=7, rank=8, lr=0.5, pdm_kernel="rbf")
    assert changed.identity() == {"preset": "mini-6", "iterations": 7, "rank": 8, "lr": 0.5, "pdm_kernel": "rbf"}


def test_defaults_by_which_finished_trainings_are_known_are_those_of_their_version() -> None:
    """Where this fails for a changed default: raise the version of students, and write the golden file anew."""
    golden = json.loads((Path(__file__).parent / "golden" / "training_defaults.json").read_text())
    defaults = DistillConfig(preset="mini-6").as_json()
    assert {name: defaults.get(name) for name in golden["defaults"]} == golden["defaults"]
    assert golden["version_of_students"] == VERSION
