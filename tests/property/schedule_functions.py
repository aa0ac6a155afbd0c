"""The public functions that take schedules and options."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import numpy as np
import torch
from asked import HUGE, Entry, May, anything, choice, members, real, whole
from functions import POSITIVE, SIGMA, SIZE, absent, number, pair
from hypothesis import strategies as st

from swd.grid import GRIDS, GridEnd, Process, TeacherGrid, TokenShift, sigma_grid, time_shift
from swd.schedule import LARGEST_SIDE, PRESETS, ScaleSchedule, UpscaleMode, preset, preset_spec
from swd.training.config import DistillConfig
from swd.values import as_whole

SCHEDULE = ScaleSchedule((4, 8), (1.0, 0.5, 0.0))


def listed(*kinds: Any) -> st.SearchStrategy[Any]:
    """The same numbers as a tuple, a list, an array and a tensor."""
    return st.sampled_from([made(kind) for kind in kinds for made in (tuple, list, np.array, torch.tensor)])


SIDES = May(listed((8, 16), (4, 4)), members(whole(1, 2**16)).fits)
LEVELS = May(listed((1.0, 0.5, 0.0), (0.9, 0.25, 0.0)), members(real(0, 1)).fits)
PATCH = May(st.sampled_from((1, 2, 4)), lambda value: as_whole(value) in (1, 2, 4))
MODES = choice(*get_args(UpscaleMode))
PROCESS = choice(None, *get_args(Process))


def own(value: Any) -> Any:
    """A number of numpy or torch as Python's."""
    return value.item() if hasattr(value, "item") else value


def kept(result: ScaleSchedule, given: Mapping[str, Any]) -> None:
    """A schedule of Python's own numbers that are the given ones."""
    assert all(type(scale) is int for scale in result.scales)
    assert all(type(sigma) is float for sigma in result.sigmas)
    for name in ("scales", "sigmas"):
        if name in given and hasattr(given[name], "__len__"):
            assert list(getattr(result, name)) == [
                value.item() if hasattr(value, "item") else value for value in given[name]
            ]
    for name in ("process", "upscale"):
        assert getattr(result, name) == given[name]


def falls(result: tuple[float, ...], given: Mapping[str, Any]) -> None:
    assert len(result) == int(given["num_steps"]) + 1
    assert (result[0], result[-1]) == (1.0, 0.0)


SCHEDULES = [
    Entry("swd.preset", preset, {"name": choice(*PRESETS)}, words=("preset",)),
    Entry("swd.schedule.preset_spec", preset_spec, {"name": choice(*PRESETS)}, words=("preset",)),
    Entry(
        "swd.ScaleSchedule",
        ScaleSchedule,
        {"scales": SIDES, "sigmas": LEVELS, "process": PROCESS, "upscale": MODES},
        kept,
        ("scales need", "one scale"),
    ),
    Entry(
        "swd.ScaleSchedule.from_boundaries",
        ScaleSchedule.from_boundaries,
        {
            "boundaries": May(listed((0, 14, 28)), members(whole(0, 28)).fits),
            "scales": SIDES,
            "levels": absent(May(st.just(sigma_grid()), members(real(0, 1)).fits)),
            "process": PROCESS,
            "upscale": MODES,
        },
        lambda result, given: kept(result, {**given, "sigmas": None}),
        ("boundaries", "scales need", "sigmas", "one scale"),
    ),
    Entry(
        "swd.ScaleSchedule.until",
        SCHEDULE.until,
        {"scale": May(st.sampled_from((4, 8)), lambda value: as_whole(value) in (4, 8))},
    ),
    Entry("swd.ScaleSchedule.check_patch", SCHEDULE.check_patch, {"patch_size": PATCH}, words=("patch size",)),
    Entry(
        "swd.ScaleSchedule.num_tokens",
        SCHEDULE.num_tokens,
        {"patch_size": May(PATCH.good, whole(1, LARGEST_SIDE).fits)},
    ),
    Entry("swd.ScaleSchedule.check_process", SCHEDULE.check_process, {"process": choice(*get_args(Process))}),
    Entry(
        "swd.ScaleSchedule.check_size",
        SCHEDULE.check_size,
        {"max_side": absent(May(whole(8, 16).good, whole(1, HUGE).fits)), "size": absent(pair(whole(1, 8)))},
        words=("scales must stay",),
    ),
    Entry(
        "swd.ScaleSchedule.latent_sizes",
        SCHEDULE.latent_sizes,
        {"size": absent(SIZE), "multiple": whole(1, 2**16, good=1)},
        lambda result, given: None,
        ("latent sides",),
    ),
    Entry(
        "swd.sigma_grid",
        sigma_grid,
        {"num_steps": whole(1, 1000), "shift": POSITIVE, "end": choice(*get_args(GridEnd))},
        falls,
    ),
    Entry("swd.grid.time_shift", time_shift, {"sigma": SIGMA, "shift": POSITIVE}, number),
    Entry("swd.grid.TokenShift.at", TokenShift().at, {"num_tokens": whole(1, 2**20)}, number),
    Entry(
        "swd.grid.TeacherGrid",
        lambda **given: TeacherGrid(**given).levels(),
        {
            "num_steps": whole(1, 1000),
            "shift": POSITIVE,
            "end": choice(*get_args(GridEnd)),
            "process": choice("flow"),
            "dmd_indices": May(st.just((12, 28)), pair(whole(-(10**6000), 10**6000)).fits),
            "pdm_indices": May(st.just((12, 28)), pair(whole(-(10**6000), 10**6000)).fits),
        },
        falls,
    ),
    Entry(
        "swd.grid.TeacherGrid.levels",
        GRIDS["sd35"].levels,
        {"num_steps": absent(whole(1, 1000)), "shift": absent(POSITIVE)},
    ),
]


def same_option(result: DistillConfig, given: Mapping[str, Any]) -> None:
    """Each option is the given one, as Python's own."""
    for name, value in given.items():
        found = getattr(result, name)
        plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
        if isinstance(plain, list) or getattr(plain, "ndim", 0) == 1:
            plain = tuple(item.item() if hasattr(item, "item") else item for item in plain)
        assert type(found).__module__ == "builtins", (name, found)
        if not hasattr(plain, "send") and not isinstance(plain, range):
            assert found == plain, (name, found, plain)
            assert isinstance(found, bool) == isinstance(plain, bool), (name, found)
    assert result.as_json()["preset"] == result.preset


def options() -> dict[str, May]:
    """Every option at its default; what it may be besides is its own check to say."""
    plain = DistillConfig(preset="mini-4")
    defaults = {field.name: getattr(plain, field.name) for field in fields(plain)}
    return {name: anything(st.just(value), lambda _: True) for name, value in defaults.items()}


OPTIONS = Entry("swd.training.DistillConfig", DistillConfig, options(), same_option, tuple(options()), together=True)
