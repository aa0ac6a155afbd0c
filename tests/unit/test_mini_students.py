"""Which students of the mini world ship, and what is left of their training."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repro import experiments
from repro.harness.experiment import Row
from repro.kinds.scores.declare import Table
from repro.profiles.mini import ADAPTERS, PROFILE
from repro.stages.store import StageStore
from repro.stages.students import shipped_training
from repro.worlds.mini import ship
from repro.worlds.mini.report import extend_report, write_report
from swd.lora.files import ADAPTER_FILE

LINE = {"iteration": 0, "step": 0, "consistency": 0.5, "total": 0.5, "grad_norm": 1.0, "seconds": 2.0}


def test_tables_share_what_they_can() -> None:
    assert list(ship.STUDENTS) == [
        "scalewise_6",
        "scalewise_4",
        "fullscale_6",
        "fullscale_4",
        "fullscale_2",
        "lcm_4",
        "dmd2_4",
        "spectrum_6",
        "spectrum_4",
    ]


def test_every_student_of_a_table_of_the_mini_world_can_be_shipped() -> None:
    tables = [table for table in experiments().values() if isinstance(table, Table) and not table.seeds]
    wanted = {row.variant: row for table in tables for row in table.rows_in("mini") if row.is_student}
    assert {"scalewise_4", "spectrum_4", "lcm_4"} <= set(wanted)
    for variant, row in wanted.items():
        assert shipped_training(PROFILE, ship.STUDENTS[variant]) == shipped_training(PROFILE, row)


def test_only_those_asked_for_are_trained_and_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def distil(store: StageStore, world: object, row: Row, **options: object) -> Path:
        trained.append(row.variant)
        folder = tmp_path / row.variant / "final"
        folder.mkdir(parents=True)
        save_file({"up": torch.ones(2)}, folder / ADAPTER_FILE, metadata={"swd": "card"})
        return folder

    monkeypatch.setattr(ship, "distil", distil)
    logs = ship.ship_students(StageStore(tmp_path / "store"), tmp_path, torch.device("cpu"), ["lcm_4"])
    assert trained == ["lcm_4"]
    assert logs == {"lcm_4": tmp_path / "lcm_4" / "log.jsonl"}
    shipped = load_file(tmp_path / ADAPTERS.folder / "lcm_4" / ADAPTER_FILE)
    assert shipped["up"].dtype is torch.float16


def test_a_further_student_joins_the_report(tmp_path: Path) -> None:
    report, log = tmp_path / "training.json", tmp_path / "log.jsonl"
    log.write_text(json.dumps(LINE) + "\n")
    write_report(report, {"vae": log}, {"torch": "2"})
    log.write_text(json.dumps({**LINE, "consistency": 0.25}) + "\n")
    extend_report(report, {"lcm_4": log})
    found = json.loads(report.read_text())
    assert found["torch"] == "2"
    assert {name: stage["curves"]["consistency"] for name, stage in found["stages"].items()} == {
        "vae": [[0, 0.5]],
        "lcm_4": [[0, 0.25]],
    }
    assert found["stages"]["lcm_4"]["seconds"] == 2.0
