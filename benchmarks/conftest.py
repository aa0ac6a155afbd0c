"""What every benchmark shares: the device in the machine info, no network, and `--rounds`."""

import os
import subprocess
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from repro.harness.provenance import versions
from repro.stages.timing import device_name


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "rounds in which providers take turns (default: as many as fit, for a whole suite of under five minutes)"
    parser.addoption("--rounds", type=int, help=what)


def pytest_configure(config: pytest.Config) -> None:
    rounds = config.getoption("rounds")
    if rounds is not None and rounds < 1:
        raise pytest.UsageError(f"--rounds must be at least 1, got {rounds}")


def _driver() -> str | None:
    """Of NVIDIA's cards, where there are any."""
    if not torch.cuda.is_available():
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["device"] = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    machine_info["threads"] = torch.get_num_threads()
    machine_info["driver"] = _driver()
    machine_info["cuda"] = torch.version.cuda if torch.cuda.is_available() else None
    machine_info["versions"] = versions()
