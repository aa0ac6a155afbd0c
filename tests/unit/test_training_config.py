from dataclasses import replace

import pytest
from training_world import CONFIG, config

from swd.training import DistillConfig
from swd.training.config import differences


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1"),
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
    ],
)
def test_bad_options_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="mini-6"):
        DistillConfig(preset="mini6").schedule()


def test_own_scales_replace_the_preset() -> None:
    schedule = config(scales=(4, 4, 8), boundaries=(0, 7, 14, 28)).schedule()
    assert schedule.scales == (4, 4, 8)
    assert schedule.sigmas == pytest.approx((1.0, 0.8959, 0.7371, 0.0), abs=1e-4)


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
    assert differences(saved, config(lr=0.5, seed=3)) == ["lr: 0.01 -> 0.5", "seed: 0 -> 3"]
