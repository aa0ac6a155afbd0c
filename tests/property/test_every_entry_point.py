"""No public name is left out: each has a line in the tables of entry points, or a reason why it has none."""

import inspect
from importlib import import_module
from types import ModuleType

import pytest
from functions import LOSSES, SIZES
from network_functions import CACHES, COSTS, SAMPLERS, SPECTRA
from schedule_functions import OPTIONS, SCHEDULES
from test_command_lines import COMMANDS
from test_library_commands import COMMANDS as LIBRARY_COMMANDS

from repro import __main__ as cli
from repro.kinds import kinds

TABLES = (*LOSSES, *SIZES, *SCHEDULES, OPTIONS, *SAMPLERS, *SPECTRA, *COSTS, *CACHES)
MODULES = (
    *("swd", "swd.losses", "swd.kernels", "swd.data", "swd.training", "swd.cost", "swd.lora.files", "swd.pipelines"),
    *("swd.flow", "swd.resize", "swd.grid", "swd.growth", "swd.guidance", "swd.sampler", "swd.schedule"),
    *("swd.spectra", "swd.spectral_budget", "swd.progressive"),
    *("repro.harness.records", "repro.worlds.prompts"),
)
NETWORKS = "takes networks and tensors that our own code makes, in the middle of sampling"
ADAPTER = "adapters have tests of their own (test_adapter_loading, test_brought_files)"
RESULT = "what functions give back"
OTHERWISE = {
    "swd.PRESETS": "a constant, read-only",
    "swd.kernels.gated_residual": NETWORKS,
    "swd.kernels.layer_norm_modulate": NETWORKS,
    "swd.kernels.upscale_renoise": NETWORKS,
    "swd.data.LatentCache": "its folder is tried by test_brought_files and test_training_data",
    "swd.data.build_cache": "does what plan_cache has checked",
    "swd.training.NonFiniteLossError": RESULT,
    "swd.training.TrainResult": RESULT,
    "swd.training.train": "its options are DistillConfig and those of swd.train",
    "swd.cost.on_meta": NETWORKS,
    "swd.cost.weight_bytes": NETWORKS,
    "swd.lora.files.ADAPTER_FILE": "a constant",
    **{f"swd.lora.files.{name}": ADAPTER for name in ("check_adapter_fits", "check_shapes", "load_adapter")},
    **{f"swd.lora.files.{name}": ADAPTER for name in ("open_adapter", "read_adapter", "save_adapter", "write_adapter")},
    **{
        f"swd.pipelines.Scalewise{name}Pipeline": "test_argument_types"
        for name in ("Flux", "StableDiffusion3", "StableDiffusionXL")
    },
    "swd.flow.FlowMatching": "by its methods",
    "swd.flow.VariancePreserving": "by its methods",
    "swd.flow.NoiseProcess": "a protocol",
    "swd.guidance.Ready": RESULT,
    "swd.guidance.Guided": NETWORKS,
    "swd.guidance.EmbeddedGuidance": NETWORKS,
    "swd.guidance.step_conditions": NETWORKS,
    "swd.guidance.with_guidance": "through sample_teacher",
    "swd.sampler.seed_rngs": "through sample",
    "swd.sampler.sides_of": "through sample_teacher",
    "swd.sampler.draw_noise": NETWORKS,
    "swd.sampler.finishing_levels": "through finish_teacher",
    "swd.sampler.sample": "as swd.sample",
    "swd.sampler.sample_teacher": "as swd.sample_teacher",
    "swd.schedule.ScaleSchedule": "as swd.ScaleSchedule",
    "swd.schedule.ScheduleSpec": RESULT,
    "swd.schedule.preset": "as swd.preset",
    "swd.grid.sigma_grid": "as swd.sigma_grid",
    "swd.grid.TokenShift": "by its method",
    "swd.spectra.Spectrum": RESULT,
    "swd.spectra.PowerLaw": RESULT,
    "swd.progressive.own_levels": NETWORKS,
    **{
        f"repro.harness.records.{name}": "lines of a records file, tried as files by test_brought_files and "
        "test_record_properties"
        for name in (
            *("SCHEMA", "Curve", "Line", "PerImage", "Record", "RecordError", "RecordSet", "Run", "Series", "VoteLine"),
            *("dumps", "load", "parse", "save"),
        )
    },
    **{
        f"repro.worlds.prompts.{name}": "prompt files, tried by test_brought_files and test_prompt_subsets"
        for name in ("PromptEntry", "PromptFileError", "image_seed", "subset")
    },
}


def public(module: ModuleType) -> list[str]:
    """What a module offers: its ``__all__``, else the functions and classes that it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = (inspect.getmembers(module, inspect.isfunction), inspect.getmembers(module, inspect.isclass))
    return [name for found in own for name, value in found if value.__module__ == module.__name__ and name[0] != "_"]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_line_or_a_reason(name: str) -> None:
    names = {f"{name}.{one}" for one in public(import_module(name))}
    tried = {entry.name.partition(",")[0] for entry in TABLES}
    missing = {one for one in names - tried - OTHERWISE.keys() if not any(line.startswith(f"{one}.") for line in tried)}
    assert not missing, f"give these a line in a table of tests/property: {sorted(missing)}"


def test_reasons_are_of_names_that_are_there() -> None:
    known = {f"{name}.{one}" for name in MODULES for one in public(import_module(name))}
    assert OTHERWISE.keys() <= known, OTHERWISE.keys() - known
    assert not OTHERWISE.keys() & {entry.name for entry in TABLES}


def test_every_command_is_tried() -> None:
    offered = {*cli.experiments(), *cli.COMMANDS, *(one.name for kind in kinds() for one in kind.commands)}
    assert {name.partition(" ")[0] for name in COMMANDS} == offered
    assert sorted(LIBRARY_COMMANDS) == ["cache", "export", "train"]
