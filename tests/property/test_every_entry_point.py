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
from repro.harness.files import ROOT
from repro.kinds import kinds

TABLES = (*LOSSES, *SIZES, *SCHEDULES, OPTIONS, *SAMPLERS, *SPECTRA, *COSTS, *CACHES)
MODULES = (
    *("swd", "swd.losses", "swd.kernels", "swd.data", "swd.training", "swd.cost"),
    *("swd.flow", "swd.resize", "swd.grid", "swd.growth", "swd.guidance", "swd.sampler", "swd.schedule"),
    *("swd.spectra", "swd.spectral_budget", "swd.progressive"),
)
NETWORKS = "takes networks and tensors that our own code makes, in the middle of sampling"
RESULT = "what functions give back"
WHOLE = {  # modules that are tried elsewhere, whatever they offer
    "swd.lora.files": "adapters: test_adapter_loading, and as files test_brought_files",
    "swd.pipelines": "test_argument_types",
    "repro.harness.records": "lines of a records file: test_record_properties, and as files test_brought_files",
    "repro.worlds.prompts": "prompt files: test_prompt_subsets, and as files test_brought_files",
}
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
    "swd.schedule.check_schedule": "through sample, sample_teacher and schedule_cost",
    "swd.schedule.preset": "as swd.preset",
    "swd.grid.sigma_grid": "as swd.sigma_grid",
    "swd.grid.TokenShift": "by its method",
    "swd.spectra.Spectrum": RESULT,
    "swd.spectra.PowerLaw": RESULT,
    "swd.progressive.own_levels": NETWORKS,
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


def test_every_package_that_says_what_it_offers_is_known() -> None:
    said = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "swd").rglob("*.py")
        if "__all__ = " in path.read_text(encoding="utf-8")
    }
    assert said <= {*MODULES, *WHOLE}, said - {*MODULES, *WHOLE}


def test_reasons_are_of_names_that_are_there() -> None:
    known = {f"{name}.{one}" for name in MODULES for one in public(import_module(name))}
    assert OTHERWISE.keys() <= known, OTHERWISE.keys() - known
    assert not OTHERWISE.keys() & {entry.name for entry in TABLES}


def test_every_command_is_tried() -> None:
    offered = {*cli.experiments(), *cli.COMMANDS, *(one.name for kind in kinds() for one in kind.commands)}
    assert {name.partition(" ")[0] for name in COMMANDS} == offered
    assert sorted(LIBRARY_COMMANDS) == ["cache", "export", "train"]
