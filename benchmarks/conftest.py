"""What every benchmark shares: the device in the machine info, and no network."""

import os
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from repro.harness.provenance import versions
from repro.measure.timing import device_name


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["device"] = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    machine_info["threads"] = torch.get_num_threads()
    machine_info["cuda"] = torch.version.cuda if torch.cuda.is_available() else None
    machine_info["versions"] = versions()
