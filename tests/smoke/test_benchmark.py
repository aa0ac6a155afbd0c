"""Tables 1, 2 and 4 in a real profile, typed as a user types them, on a miniature of everything that its user has.

Each table is measured twice. One process measures it undisturbed. Then a process is killed (SIGKILL) at five moments,
told by how many files it has left (a seed chooses how many), each time another goes on, and two at once do the rest.
All processes are forked from one server that has the libraries loaded: loading takes longer than the tables do.
"""

import math
import multiprocessing
import os
import random
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import benchmark_world
import pytest
import torch
from benchmark_world import TORN
from filelock import FileLock

from repro.harness.records import load
from repro.harness.schema import RecordSet, Run
from repro.kinds.scores.declare import SKIPPED
from repro.stages.work import LEASES

KILLS, SECONDS = 5, 900
PROMPTS = "3"  # the torn image's among them
PRELOADED = ["benchmark_world", "diffusers", "peft", "repro.kinds.scores.measure", "repro.kinds.upscaling.measure"]
TIMED = ("latency", "speedup", "seconds")  # metrics of a clock
PUBLISHED = {"table1": ("9.2", "129.7", "122.0"), "table2": ("0.230", "13.6"), "table4": ("0.221", "0.232")}
SCORES = {
    "table1": ("fid_t400",),
    "table2": ("pickscore", "clipscore", "image_reward", "fid", "geneval"),
    "table4": ("pickscore", "clipscore", "image_reward", "fid", "latency"),
}
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A command in `sd35-medium`; ``options`` may name folders of the miniature as ``{world}``."""

    table: str
    options: tuple[str, ...]
    seed: int


CASES = [
    Case("table1", (), 1),
    Case(
        "table2",
        ("--rows", "teacher", "scalewise_6", "fullscale_2", "--num-prompts", PROMPTS, "--adapters", "{world}/own"),
        2,
    ),
    Case(
        "table4",
        # a pipeline, a network of another method, an adapter of another method, students published and own, a folder
        (
            *("--rows", "sdxl_turbo", "dmd2_sdxl", "hyper_sdxl", "dmd2_pdm_medium", "swd_medium_4", "switti"),
            *("--adapters", "{world}/own", "--images", "switti={world}/elsewhere"),
            *("--num-prompts", PROMPTS, "--without", "geneval", "diversity"),
        ),
        3,
    ),
]


@dataclass(frozen=True)
class Ground:
    """A miniature world and a folder for results."""

    world: Path
    folder: Path
    case: Case

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def start(self, name: str) -> BaseProcess:
        """The command in a process of its own; what it prints goes to the file ``name``."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.folder.mkdir(exist_ok=True)
        options = [option.format(world=self.world) for option in self.case.options]
        places = ["--out", str(self.folder / "out"), "--work", str(self.work), "--device", "cpu"]
        words = [self.case.table, "--profile", "sd35-medium", *places, *options]
        process = context.Process(target=_run, args=(self.world, words, self.folder / name))
        process.start()
        return process

    def finish(self, names: Sequence[str]) -> str:
        """Processes at once, until all are done; what the first one printed."""
        processes = [self.start(name) for name in names]
        for process, name in zip(processes, names, strict=True):
            process.join(SECONDS)
            assert process.exitcode == 0, (self.folder / name).read_text()[-3000:]
        return (self.folder / names[0]).read_text()

    def files(self) -> set[Path]:
        """All that was left in the folder of unfinished work; neither leases nor what is still being written."""
        found = (Path(place) / name for place, _, names in os.walk(self.work) for name in names)
        return {path for path in found if LEASES not in path.parts and not path.name.startswith(".")}

    def records(self) -> RecordSet:
        (path,) = (self.folder / "out" / "records").glob("*.jsonl")
        return load(path)

    def page(self) -> str:
        return (self.folder / "out" / f"{self.case.table}.sd35-medium.md").read_text()


def _run(world: Path, words: Sequence[str], printed: Path) -> None:
    with printed.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    torch.set_num_threads(1)
    sys.exit(benchmark_world.main(world, words))


def _comparable(found: RecordSet) -> list[dict[str, Any]]:
    lines = [asdict(line) | {"run": ""} for line in found.lines if not isinstance(line, Run)]
    return [line for line in lines if line["metric"] not in TIMED]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once for all workers of pytest."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "benchmark-world"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "done").exists():
            benchmark_world.build(folder)
            (folder / "done").touch()
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.table)
def test_a_table_from_prompts_to_page(case: Case, world: Path, tmp_path: Path) -> None:
    undisturbed, ground = (Ground(world, tmp_path / name, case) for name in ("undisturbed", "killed"))
    undisturbed.finish(["printed"])
    kept = _kill(ground, len(undisturbed.files()))
    assert len(kept) > KILLS
    ground.finish(["first", "second"])

    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept} == kept, "done a second time"
    assert _images(ground.work) == _images(undisturbed.work)
    assert _comparable(ground.records()) == _comparable(undisturbed.records())
    _check_page(undisturbed)
    _check_skipped(undisturbed)


def _kill(ground: Ground, everything: int) -> dict[Path, tuple[int, bytes]]:
    """Kill a process at five moments before so many files are there; finished ones, with their times."""
    chance, kept = random.Random(ground.case.seed), {}
    for kill, moment in enumerate(sorted(chance.sample(range(2, everything - 2), KILLS))):
        process = ground.start(f"killed-{kill}")
        _wait_for(ground, moment, process)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -9
        kept |= {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in ground.files() if _is_done(path)}
    return kept


def _check_page(ground: Ground) -> None:
    """It holds the paper's numbers beside those that were measured, which are numbers, and links its figures."""
    page, measured, scores = ground.page(), ground.records().records, SCORES[ground.case.table]
    assert "(paper" in page
    for number in PUBLISHED[ground.case.table]:
        assert re.search(rf"\| +{re.escape(number)} +\|", page), number
    for record in measured:
        if record.metric in scores:  # a number, or why there is none
            assert math.isfinite(record.value) if record.value is not None else record.note
    assert {record.metric for record in measured if record.value is not None} >= set(scores)
    for link in re.findall(r"!\[.*?\]\((.+?)\)", page):
        assert (ground.folder / "out" / link).stat().st_size > 1000


def _check_skipped(ground: Ground) -> None:
    """The torn image of Table 4's folder is in no number, counted and named with its reason; no other is."""
    measured, page = ground.records(), ground.page()
    skipped = [record for record in measured.records if record.metric == SKIPPED and record.value]
    assert ("skipped" in page) == bool(skipped)
    assert len(skipped) == (ground.case.table == "table4")
    for lost in skipped:
        assert (lost.variant, lost.prompts, lost.value) == ("switti", "coco", 1)
        assert re.match(rf"{TORN}: .*truncated", lost.note)
        assert lost.note in page
        (score,) = measured.find("switti", "coco", "pickscore")
        assert score.n == int(PROMPTS) - 1


def _wait_for(ground: Ground, count: int, process: BaseProcess) -> None:
    deadline = time.monotonic() + SECONDS
    while len(ground.files()) < count:
        assert process.is_alive(), f"ended with {len(ground.files())} files, not {count}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_done(path: Path) -> bool:
    """Shards, and stages with their markers; a folder of somebody's images is looked through every time."""
    return "folders" not in path.parts and (path.name.startswith("shard-") or path.name == "finished.json")


def _images(work: Path) -> Mapping[str, bytes]:
    """Sampled images and their manifests, by place: folders are named by what went into them."""
    found = [path for name in ("[0-9]*.png", "shard-*.jsonl") for path in (work / "images").rglob(name)]
    return {str(path.relative_to(work)): path.read_bytes() for path in found}
