"""Groups of one, two and four processes train the same, and one goes on where another of another size stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import groups_world
import pytest
import torch
from groups_world import MEDIAN, POOLED, SHARDED, WHOLE
from processes_world import FAMILIES, STOPPED
from training_world import assert_same, curve, fresh_accelerate, tensors

CLOSE = 1e-5
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the groups leave behind."""
    folder = tmp_path_factory.mktemp("groups")
    done = subprocess.run(
        [sys.executable, groups_world.__file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # minutes only where the machine is busy
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def in_one(folder: Path, options: dict[str, Any]) -> Path:
    """The same run in one process of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with fresh_accelerate():
        FAMILIES["sd3"].train(folder / "one", **options)
    torch.set_num_threads(threads)
    return folder / "one"


def assert_close(left: Path, right: Path, close: float = CLOSE) -> None:
    """Adapters to 1e-5 of the largest weight, and curves to 1e-5, or as close as is said."""
    weights, found = tensors(left / "final"), tensors(right / "final")
    assert found.keys() == weights.keys()
    largest = max(weight.abs().max().item() for weight in weights.values())
    for key, weight in weights.items():
        torch.testing.assert_close(found[key], weight, rtol=0, atol=close * largest)
    assert_curves_close(left, right, close)


def assert_curves_close(left: Path, right: Path, close: float) -> None:
    for ours, theirs in zip(curve(left / "log.jsonl"), curve(right / "log.jsonl"), strict=True):
        assert theirs == pytest.approx(ours, rel=close, abs=close)


def noted(world: Path, name: str) -> list[Any]:
    return [json.loads((world / f"{name}.{rank}").read_text()) for rank in range(2)]


def test_one_two_and_four_processes_train_the_same(world: Path, tmp_path: Path) -> None:
    one = in_one(tmp_path, WHOLE)
    assert_close(one, world / "two")
    assert_close(one, world / "four")


@pytest.mark.parametrize(("name", "options"), [("pooled", POOLED), ("median", MEDIAN)])
def test_a_loss_of_the_whole_batch_is_of_all_processes_images(
    name: str, options: dict[str, Any], world: Path, tmp_path: Path
) -> None:
    assert_close(in_one(tmp_path, options), world / name)


def test_two_go_on_where_four_stopped(world: Path) -> None:
    stopped = (world / "stopped" / "log.jsonl").read_text()
    assert len(stopped.splitlines()) == STOPPED
    assert (world / "resumed" / "log.jsonl").read_text().startswith(stopped)  # nothing is trained again
    assert_close(world / "two", world / "resumed")


def test_all_processes_pass_over_a_damaged_state_to_the_one_before(world: Path) -> None:
    (first, second) = noted(world, "flipped")
    assert first["error"] is second["error"] is None
    assert len(first["warnings"]) == 1  # the main process names it, once
    assert f"state-{STOPPED:06d} is torn (tensors.safetensors is not what was written" in first["warnings"][0]
    assert second["warnings"] == []
    kept = (world / "stopped" / "log.jsonl").read_text().splitlines(keepends=True)
    assert (world / "flipped" / "log.jsonl").read_text().startswith("".join(kept[: STOPPED - 1]))
    assert_close(world / "two", world / "flipped")


def test_a_process_that_lacks_the_state_of_the_others_ends_them_all(world: Path) -> None:
    first, second = noted(world, "apart")
    assert "another process could not read" in first["error"]
    assert "no state-000002 on this machine" in second["error"]
    assert "must be one folder for all processes" in second["error"]
    assert_same(tensors(world / "apart"), tensors(world / "stopped"))  # as it was, to be gone on with
    assert curve(world / "apart" / "log.jsonl") == curve(world / "stopped" / "log.jsonl")


@pytest.mark.parametrize(("name", "close"), [("sd3", 1e-5), ("flux", 1e-5), ("sd3-bf16", 3e-3)])
def test_a_shared_network_trains_what_a_whole_one_does(name: str, close: float, world: Path) -> None:
    """In bfloat16, products of gathered weights are rounded by other kernels of the CPU."""
    assert_curves_close(world / "replicated" / name, world / "sharded" / name, close)


@pytest.mark.parametrize("name", SHARDED)
def test_each_process_holds_its_share_of_the_blocks_and_whole_adapters(name: str, world: Path) -> None:
    whole, first, second = (
        json.loads((world / file).read_text())
        for file in (f"replicated-{name}.0", f"sharded-{name}.0", f"sharded-{name}.1")
    )
    assert whole["here"] == whole["blocks"] == first["here"] + second["here"]
    assert first["here"] < 0.6 * whole["here"]
    assert first["adapters"] == second["adapters"] == whole["adapters"] > 0
    assert (whole["gathered"], first["gathered"]) == (0, 2 * first["largest"])  # room that is left for gathered blocks


def test_sharing_weights_is_no_part_of_a_run_that_is_gone_on_with(world: Path) -> None:
    assert_close(world / "two", world / "resumed-sharded")


def test_a_network_that_is_shared_serves_one_run(world: Path) -> None:
    assert [one["error"] for one in noted(world, "replicated-again")] == [None, None]
    for one in noted(world, "sharded-again"):
        assert "are shared by processes since an earlier run: load it again" in one["error"]


@pytest.mark.parametrize(
    ("name", "statuses", "state"),
    [("one", (0, 0), "state-000002"), ("both", (0, 0), "state-000002"), ("ctrl-c", (130, 130), "state-000002")],
)
def test_signals_to_any_process_save_one_state_and_end_all(
    name: str, statuses: tuple[int, int], state: str, world: Path
) -> None:
    for status, (first, second) in zip(statuses, noted(world, name), strict=True):
        assert first == [status, [state]]
        assert second == [0, ["state-000002", "state-000004"]]  # the same command went on from there
    assert len(curve(world / name / "log.jsonl")) == 4


def test_a_second_ctrl_c_ends_all_processes_at_once(world: Path) -> None:
    assert noted(world, "ctrl-c-twice") == [[[130, []]]] * 2
