"""`benchmarks/weak_scaling.py`: what it starts and what it prints; a training of one process in the test itself."""

import argparse
import json
import sys
from pathlib import Path

import pytest
import torch
from training_world import fresh_accelerate

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import weak_scaling
from weak_scaling import Layout, Measured, measured, table


def test_layouts_are_processes_by_threads() -> None:
    assert Layout.parse("2x3") == Layout(2, 3)
    assert str(Layout(2, 3)) == "2x3"
    for wrong in ("0x1", "2", "2x", "axb"):
        with pytest.raises(argparse.ArgumentTypeError, match="write 2x1 for two processes of one thread"):
            Layout.parse(wrong)


def test_the_first_cycle_of_a_log_warms_up(tmp_path: Path) -> None:
    lines = [{"iteration": n, "step": n % 3, "seconds": [9.0, 8.0, 7.0, 1.0, 2.0][n]} for n in range(5)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert measured(tmp_path, Layout(1, 1), 4) == Measured(Layout(1, 1), 4, (1.0, 2.0))


def test_scaling_is_of_images_for_each_thread_against_the_first_layout() -> None:
    alone, both = Measured(Layout(1, 1), 4, (2.0,)), Measured(Layout(2, 1), 8, (1.0, 2.5, 2.5))
    assert (alone.rate, both.rate) == (2.0, 3.2)
    lines = table([alone, both]).splitlines()
    assert lines[1].split() == ["1x1", "4", "2.000", "2.00", "1.00"]
    assert lines[2].split() == ["2x1", "8", "2.500", "3.20", "0.80"]


def test_every_layout_is_started_with_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(weak_scaling, "accelerated", lambda: False)
    monkeypatch.setattr(weak_scaling.subprocess, "run", lambda words, env, check: started.append((words, env)))
    monkeypatch.setattr(weak_scaling, "measured", lambda folder, layout, batch: Measured(layout, batch, (1.0,)))
    weak_scaling.main([str(tmp_path), "--layouts", "1x2", "4x1", "--images", "3", "--fsdp"])
    for (words, environment), processes, threads in zip(started, "14", "21", strict=True):
        assert words[words.index("--nproc-per-node") + 1] == processes
        assert words[words.index("--worker") + 1] == f"{processes}x{threads}"
        assert (environment["OMP_NUM_THREADS"], environment["FSDP_VERSION"]) == (threads, "2")
        assert environment["ACCELERATE_USE_CPU"] == "true"


def test_a_process_trains_the_mini_students_settings(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with fresh_accelerate():
        weak_scaling.main([str(tmp_path), "--worker", "1x1", "--images", "1", "--iterations", "1"])
    torch.set_num_threads(threads)
    found = measured(tmp_path, Layout(1, 1), 1)
    assert len(found.seconds) == 1
    assert found.seconds[0] > 0
    assert json.loads((tmp_path / "final" / "training.json").read_text())["config"]["rank"] == 16
