"""Records of other settings are not lost in silence: what differs is named before any work."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.provenance import start_run
from repro.harness.records import RecordSet, save
from repro.harness.settings import check_replaced, differences

THERE = {"profile": {"images_per_set": 3, "sides": (8, 16)}, "rows": {"teacher": {"steps": 28}}, "device": "cpu"}


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Records of ``THERE``."""
    opened = start_run(table="table4", profile="toy", config=THERE, command="", folder=tmp_path)
    save(
        path := tmp_path / "table4.jsonl",
        RecordSet.of([opened.close(device="", dtype="", data_hash="", weights_hash="")]),
    )
    return path


def options(folder: Path, **given: bool) -> RunOptions:
    return RunOptions(out=folder, work=folder, **given)


def changed(**parts: Any) -> Mapping[str, Any]:
    return {**THERE, **parts}


@pytest.mark.parametrize(
    ("here", "named"),
    [
        (changed(device="cuda"), r"different: device 'cpu', now 'cuda'\."),
        (changed(profile={"images_per_set": 5, "sides": [8, 16]}), r"different: profile\.images_per_set 3, now 5\."),
        (changed(profile={"images_per_set": 3, "sides": [8, 20]}), r"different: profile\.sides\.\[1\] 16, now 20\."),
        (changed(rows={"flux_dev": {}}), r"rows\.flux_dev \(only here\); rows\.teacher \(only there\)\."),
        ({f"key{i}": i for i in range(9)}, r"device \(only there\); key0 .*; key3 \(only here\) and 7 more\."),
        ({**THERE, "rows": {"teacher": {"steps": "x" * 64}}}, r"different: rows\.teacher\.steps\."),
    ],
)
def test_other_settings_are_refused_and_named(measured: Path, here: Mapping[str, Any], named: str) -> None:
    before = measured.read_bytes()
    with pytest.raises(UsageError, match=rf"table4\.jsonl was measured with other settings .*{named} Choose another"):
        check_replaced(measured, here, options(measured.parent))
    for given in ({"replace": True}, {"committed": True}):
        check_replaced(measured, here, options(measured.parent, **given))
    assert measured.read_bytes() == before


def test_the_same_settings_and_a_new_folder_are_not(measured: Path, tmp_path: Path) -> None:
    check_replaced(measured, THERE, options(tmp_path))
    check_replaced(tmp_path / "nothing.jsonl", {"other": 1}, options(tmp_path))


def test_equal_data_has_no_differences() -> None:
    assert list(differences(THERE, changed(profile={"sides": [8, 16], "images_per_set": 3}))) == []
