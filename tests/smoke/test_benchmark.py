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
TIMED = ("latency", "speedup")  # metrics of a clock
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
    Case("table2", ("--num-prompts", PROMPTS, "--adapters", "{world}/own"), 2),
    Case(
        "table4",
        # a pipeline, a network of another method, an adapter of another method, students published and own, a folder
        (
            *("--rows", "sdxl_turbo", "dmd2_sdxl", "hyper_sdxl", "dmd2_pdm_medium", "swd_medium_4", "switti"),
            *("--adapters", "{world}/own", "--images", "switti={world}/elsewhere", "--num-prompts", PROMPTS),
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


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.table)
def undisturbed(request: pytest.FixtureRequest, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    ground = Ground(world, tmp_path_factory.mktemp(request.param.table), request.param)
    ground.finish(["printed"])
    return ground


def test_killed_five_times_and_finished_by_two_processes(undisturbed: Ground, tmp_path: Path) -> None:
    chance = random.Random(undisturbed.case.seed)
    ground = Ground(undisturbed.world, tmp_path, undisturbed.case)
    everything = len(undisturbed.files())
    kept: dict[Path, tuple[int, bytes]] = {}
    for kill, moment in enumerate(sorted(chance.sample(range(2, everything - 2), KILLS))):
        process = ground.start(f"killed-{kill}")
        _wait_for(ground, moment, process)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -9
        kept |= {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in ground.files() if _is_done(path)}
    assert len(kept) > KILLS
    ground.finish(["first", "second"])

    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept} == kept, "done a second time"
    assert _images(ground.work) == _images(undisturbed.work)
    assert _comparable(ground.records()) == _comparable(undisturbed.records())


def test_the_page_holds_the_papers_numbers_beside(undisturbed: Ground) -> None:
    page, measured = undisturbed.page(), undisturbed.records()
    assert "(paper" in page
    for number in PUBLISHED[undisturbed.case.table]:
        assert re.search(rf"\| +{re.escape(number)} +\|", page), number
    scores = SCORES[undisturbed.case.table]
    for record in measured.records:
        if record.metric in scores:  # a number, or why there is none
            assert math.isfinite(record.value) if record.value is not None else record.note
    assert {record.metric for record in measured.records if record.value is not None} >= set(scores)
    for link in re.findall(r"!\[.*?\]\((.+?)\)", page):
        assert (undisturbed.folder / "out" / link).stat().st_size > 1000


def test_a_torn_image_is_skipped_counted_and_named(undisturbed: Ground) -> None:
    measured, page = undisturbed.records(), undisturbed.page()
    skipped = [record for record in measured.records if record.metric == SKIPPED]
    if undisturbed.case.table != "table4":
        assert not any(record.value for record in skipped)
        assert "skipped" not in page
        return
    (lost,) = [record for record in skipped if record.value]
    assert (lost.variant, lost.prompts, lost.value) == ("switti", "coco", 1)
    assert re.match(rf"{TORN}: .*(truncated|cut|damaged)", lost.note)
    (scores,) = measured.find("switti", "coco", "pickscore")
    assert scores.n == int(PROMPTS) - 1
    assert lost.note in page


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
    found = [path for path in (work / "images").rglob("*") if path.is_file()]
    return {str(path.relative_to(work)): path.read_bytes() for path in found if not path.name.startswith(".")}
