"""Two processes that torchrun starts, gloo between them, train what one does, and one goes on where they stopped."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import processes_world
import pytest
import torch
from filelock import FileLock
from processes_world import FAMILIES, STOPPED, WAYS
from torch import Tensor
from training_world import assert_same, curve, fresh_accelerate, losses, tensors

from swd.training import TrainResult

CLOSE = 1e-6
pytestmark = pytest.mark.slow
each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave behind, a folder for each family and each way; made once for all workers of pytest."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two-processes"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            train_in_two(folder)
            (folder / "done").touch()
    return folder


def train_in_two(folder: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, processes_world.__file__, str(folder)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # minutes only where the machine is busy
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.name: path.read_text() for path in folder.glob("rank*")} == {"rank0": "2 gloo", "rank1": "2 gloo"}


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """One process and one thread, as each of the two has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with fresh_accelerate():
        yield
    torch.set_num_threads(threads)


@each_way
@pytest.mark.parametrize("name", FAMILIES)
def test_two_processes_are_one(name: str, way: str, two: Path, tmp_path: Path) -> None:
    one, there = FAMILIES[name].train(tmp_path / "one", **WAYS[way]), two / name / way
    assert_alike(one, there, way)
    assert_moved(tensors(there / "final"))


@each_way
def test_one_process_goes_on_where_two_stopped(way: str, two: Path, tmp_path: Path) -> None:
    expected = FAMILIES["sd3"].train(tmp_path / "uninterrupted", **WAYS[way])
    resumed = tmp_path / "resumed"
    shutil.copytree(two / "stopped" / way, resumed)
    before = (resumed / "log.jsonl").read_text()
    assert len(before.splitlines()) == STOPPED
    FAMILIES["sd3"].train(resumed, **WAYS[way])
    assert (resumed / "log.jsonl").read_text().startswith(before)  # what the two wrote is not trained again
    assert_alike(expected, resumed, way)


def assert_alike(expected: TrainResult, folder: Path, way: str) -> None:
    """Adapter and curve of a folder: to 1e-6 of the largest weight, or bit for bit where sums are the same."""
    weights, found = tensors(expected.adapter), tensors(folder / "final")
    lines, found_lines = losses(expected), curve(folder / "log.jsonl")
    if way == "pieces":
        assert_same(found, weights)
        assert found_lines == lines
        return
    assert found.keys() == weights.keys()
    largest = max(weight.abs().max().item() for weight in weights.values())
    for key, weight in weights.items():
        torch.testing.assert_close(found[key], weight, rtol=0, atol=CLOSE * largest)
    for theirs, ours in zip(found_lines, lines, strict=True):
        assert theirs == pytest.approx(ours, rel=CLOSE, abs=CLOSE)


def assert_moved(weights: dict[str, Tensor]) -> None:
    """The second factors, which start at zero, are now many times what two runs may differ by."""
    largest = max(weight.abs().max().item() for weight in weights.values())
    moved = max(weight.abs().max().item() for key, weight in weights.items() if "lora_B" in key)
    assert moved > 20 * CLOSE * largest
