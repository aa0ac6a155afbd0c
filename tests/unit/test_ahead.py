from dataclasses import replace
from pathlib import Path

from harness_world import RUN, lines

from repro.harness.records import RecordSet, save
from repro.kinds.scores.ahead import ahead
from repro.profiles import load_profile


def test_what_is_ahead_is_said_with_what_it_took(tmp_path: Path) -> None:
    path, mini = tmp_path / "table2.jsonl", load_profile("mini")
    nothing = (
        "12 sets of images to make, or to find finished, and to score; --profile smoke goes the whole way in minutes"
    )
    assert ahead(path, 12, mini) == nothing
    save(path, RecordSet.of(lines()))
    said = ahead(path, 12, mini)
    assert f"{path} stands until they are, and took 2 min on cpu (2 threads)" in said


def test_a_run_whose_stages_others_did_says_nothing_of_the_time(tmp_path: Path) -> None:
    path = tmp_path / "table2.jsonl"
    made = [replace(RUN, stage_commits=("0123",)), *lines()[1:]]
    save(path, RecordSet.of(made))
    assert "min on" not in ahead(path, 12, load_profile("mini"))
    assert "smoke" not in ahead(path, 12, load_profile("smoke"))
