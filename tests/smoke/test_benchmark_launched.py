"""A table of a real profile under `torchrun`, as with two GPUs: two processes on CPUs, on a miniature of everything."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import benchmark_world
import pytest
from tiny_pipelines import make, save

from repro.harness.records import load
from repro.harness.schema import Run
from swd.schedule import preset

STUDENT = "scalewise_4"
PROMPTS = 4  # two shards of each set: three images lie in one
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
OTHERS = ("clipscore", "image_reward", "fid", "geneval", "diversity")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one student and PickScore need."""
    folder = tmp_path_factory.mktemp("world")
    save(make("sd35-medium"), folder / "models" / "medium")
    benchmark_world.write_student(
        "sd35-medium", preset(benchmark_world.STUDENTS[STUDENT]), folder / "models" / STUDENT, seed=0
    )
    benchmark_world.build_metrics(folder / "models")
    benchmark_world.build_data(folder / "data")
    return folder


def measured(world: Path, folder: Path, *launcher: str) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """What was recorded, and all images, by their places."""
    places = ["--out", str(folder / "out"), "--work", str(folder / "work"), "--device", "cpu"]
    words = ["--profile", "sd35-medium", "--rows", STUDENT, "--num-prompts", str(PROMPTS), "--without", *OTHERS]
    done = subprocess.run(
        [sys.executable, *launcher, benchmark_world.__file__, str(world), "table2", *words, *places],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # minutes only where the machine is busy
    )
    assert done.returncode == 0, done.stderr[-3000:]  # torchrun's own is that of the worst process
    (path,) = (folder / "out" / "records").glob("*.jsonl")
    lines = [asdict(line) | {"run": ""} for line in load(path).lines if not isinstance(line, Run)]
    assert (folder / "out" / "table2.sd35-medium.md").read_text().startswith("# Table 2")
    images = (folder / "work" / "images").rglob("shard-*")
    return lines, {str(found.relative_to(folder)): found.read_bytes() for found in images if found.is_file()}


def test_two_processes_of_torchrun_leave_what_one_does(world: Path, tmp_path: Path) -> None:
    one, one_images = measured(world, tmp_path / "one")
    two, two_images = measured(world, tmp_path / "two", *LAUNCHER)
    assert {line["metric"] for line in one} >= {"pickscore", "tokens"}
    assert two == one
    assert len(one_images) >= 4  # two sets of prompts, two shards of each
    assert two_images == one_images
