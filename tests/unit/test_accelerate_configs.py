"""`configs/accelerate` as `accelerate launch` reads it, up to the environment that training then finds."""

import os
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import launch
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env
from training_world import config

from swd.training.launch import FSDP, launched

FOLDER = Path(__file__).parents[2] / "configs" / "accelerate"
SIZES = {"one-gpu": (1, 1), "ddp-8": (1, 8), "ddp-2x8": (2, 16), "fsdp2-8": (1, 8), "fsdp2-2x8": (2, 16)}


@pytest.fixture(autouse=True)
def _gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with GPUs and every port free, and no configuration of a user's own."""
    monkeypatch.setattr(launch, "is_port_in_use", lambda port: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_"))]:
        monkeypatch.delenv(name)


def environment(name: str) -> tuple[object, dict[str, str]]:
    """Arguments of the launch, and what it would set for training."""
    file = str(FOLDER / f"{name}.yaml")
    words = ["--config_file", file, "-m", "swd.train"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    if arguments.multi_gpu or arguments.use_fsdp:
        return arguments, prepare_multi_gpu_env(arguments)
    return arguments, prepare_simple_launcher_cmd_env(arguments)[1]


def test_every_file_is_looked_at() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SIZES)
    assert {path.suffix for path in FOLDER.iterdir()} == {".yaml"}


@pytest.mark.parametrize(("name", "machines", "processes"), [(name, *size) for name, size in SIZES.items()])
def test_a_configuration_starts_its_processes_and_training_takes_all_of_it(
    name: str, machines: int, processes: int
) -> None:
    read = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (read.num_machines, read.num_processes, read.mixed_precision) == (machines, processes, "bf16")
    arguments, found = environment(name)
    assert (arguments.num_machines, arguments.num_processes) == (machines, processes)
    if processes > 1:
        assert arguments.nproc_per_node == "8"
    assert (found.get(FSDP) == "true") == name.startswith("fsdp2")
    assert launched(config(), found).precision == "bf16"
