import csv
import json
import random
import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_world import make_images, tiny_study
from vote_simulation import Study as Simulated
from vote_simulation import simulate

from repro.__main__ import main
from repro.harness.votes import files
from repro.harness.votes.vote import Vote
from repro.study.access import Access
from repro.study.assignment import Answer, Assignments
from repro.study.contents import read_contents, store_contents
from repro.study.database import Database
from repro.study.definition import Study
from repro.study.report import gather, report
from repro.study.texts import load_texts


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which three people voted; it is not changed."""
    study = tiny_study(tmp_path_factory.mktemp("commands"), prompts=4, criteria=["defects"])
    database, rng = Database(study.database), random.Random(1)
    store_contents(database, read_contents(study, load_texts("en", study.folder)))
    assignments = Assignments(database, study)
    Access(database).invite(["A1", "A2", "A3"], days=1)
    for person in (1, 2, 3):
        while (token := assignments.next(person)) is not None:
            choice = rng.choice(("left", "tie", "right"))
            assignments.answer(person, token, Answer(choice=choice, parts={"extra": choice}, revision=0))  # type: ignore[arg-type]
    return study


def test_from_folders_to_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (make_images(tmp_path / name, prompts=2, images=2, side=8, seed=seed) for seed, name in enumerate("ab"))
    (tmp_path / "p.csv").write_text("id,caption\n0,one\n1,two\n")
    words = ["study", "new", "--systems", f"a={a}", f"b={b}", "--prompts", str(tmp_path / "p.csv")]
    assert main([*words, "--out", str(tmp_path / "s"), "--criteria", "complexity"]) == 0
    study = str(tmp_path / "s" / "STUDY.toml")
    assert f"study serve {study}" in capsys.readouterr().out
    assert main(["study", "invite", study, "ada", "--count", "2", "--url", "https://s.example"]) == 0
    links = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert list(links) == ["ada", "A1", "A2"]
    assert all(link.startswith("https://s.example/enter/") for link in links.values())
    assert main(["study", "invite", study, "--admin"]) == 0
    assert main(["study", "revoke", study, "A2"]) == 0
    assert main(["study", "status", study]) == 0
    assert "A2                0 of 0, attention checks 0 of 0, link revoked" in capsys.readouterr().out
    assert main(["study", "revoke", study, "A9"]) == 1
    assert "nobody was invited as 'A9'; known: ada, A1, A2" in capsys.readouterr().err
    assert main(["study", "export", study]) == 1
    assert "has no votes yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new", "--systems", "a", "--prompts", "p", "--out", "o"], "--systems takes KEY=DIR, got 'a'"),
        (["new", "--systems", "a=x", "--prompts", "p", "--out", "o"], "--systems takes at least two"),
        (["new", "--systems", "a=x", "a=y", "--prompts", "p", "--out", "o"], "--systems names a twice"),
        (["new", "--systems", "a=x", "b=y", "--prompts", "p", "--out", "o"], "no such folder of images: x"),
        (["status", "nowhere.toml"], "cannot read the study nowhere.toml"),
    ],
)
def test_what_was_typed_wrongly_is_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *words]) in {1, 2}
    assert said in capsys.readouterr().err


def test_without_its_extra_a_study_says_how_to_get_it(
    voted: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "repro.study.serving", raising=False)
    assert main(["study", "serve", str(voted.file)]) == 1
    assert "uvicorn is not installed; this needs the extra `study`: pip install" in capsys.readouterr().err


def test_both_formats_hold_the_same_votes(voted: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "votes.jsonl", tmp_path / "votes.csv"]
    for path in paths:
        form = path.suffix[1:]
        words = ["--format", form, "--out", str(path), "--parts", str(tmp_path / "parts.csv")]
        assert main(["study", "export", str(voted.file), *words]) == 0
    one, other = map(files.read, paths)
    assert one == other
    assert len([vote for vote in one if not vote.expected]) == 12
    with (tmp_path / "parts.csv").open() as stream:
        parts = list(csv.DictReader(stream))
    assert len(parts) == len(one)
    assert {row["part"] for row in parts} == {"extra"}
    assert main(["study", "export", str(voted.file), "--format", "csv", "--out", str(paths[0])]) == 2
    assert "but --format is csv" in capsys.readouterr().err


def test_an_export_of_a_changed_study_is_refused(voted: Study, capsys: pytest.CaptureFixture[str]) -> None:
    other = voted.folder / "other.toml"
    other.write_text(voted.file.read_text().replace('name = "tiny"', 'name = "renamed"'))
    assert main(["study", "export", str(other)]) == 1
    assert re.search("changed after [0-9]+ answers: name", capsys.readouterr().err)


def test_a_report_from_the_export_is_that_of_the_study(voted: Study, tmp_path: Path) -> None:
    files.write(tmp_path / "votes.csv", gather([voted.file]))
    text = report(gather([voted.file]))
    assert report(gather([tmp_path / "votes.csv"])) == text
    assert "12 votes of 3 assessors" in text
    assert main(["study", "report", str(voted.file), str(tmp_path / "votes.csv")]) == 1, "each vote once"


def test_a_report_finds_the_better_system_and_leaves_out_the_careless(tmp_path: Path) -> None:
    strengths = {"good": 2.0, "bad": -2.0, "middling": 0.0}
    pairs = (("bad", "good"), ("bad", "middling"), ("good", "middling"))
    known = Simulated(strengths=strengths, pairs=pairs, checks=12, assessors=tuple("abcd"), careless=("d",))
    files.write(tmp_path / "votes.jsonl", simulate(known, np.random.default_rng(3)))
    assert main(["study", "report", str(tmp_path / "votes.jsonl"), "--out", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "| good before bad | relevance |" in text
    assert "left out: d." in text
    order = [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| relevance |")]
    assert order == ["good", "middling", "bad"]


def test_studies_of_other_images_are_reported_apart(tmp_path: Path) -> None:
    def votes(study: str, winner: Any) -> list[Vote]:
        asked = product(range(12), "abc")
        same: dict[str, Any] = {"study": study, "image": 0, "criterion": "relevance", "left": "x", "right": "y"}
        return [Vote(**same, prompt=f"p{prompt}", choice=winner, assessor=who, seconds=1.0) for prompt, who in asked]

    files.write(tmp_path / "one.csv", votes("one", "left"))
    files.write(tmp_path / "two.csv", votes("two", "right"))
    text = report(gather([tmp_path / "one.csv", tmp_path / "two.csv"]))
    assert re.findall("^# Preferences: (.*)$", text, re.MULTILINE) == ["one", "two"]
    assert [line.split(" | ")[4] for line in text.splitlines() if "| relevance |" in line] == ["12, 0, 0"] * 2
    assert "x before y" in text
    assert "y before x" in text


def test_votes_of_label_studio_are_read(tmp_path: Path) -> None:
    data = {"prompt": "0", "image": 0, "criterion": "defects", "left": "a", "right": "b"}
    result = [{"type": "pairwise", "value": {"selected": "left"}}]
    task = {"data": data, "annotations": [{"completed_by": 7, "lead_time": 2.5, "result": result}]}
    (tmp_path / "project.json").write_text(json.dumps([task]))
    assert main(["study", "import", str(tmp_path / "project.json"), "--out", str(tmp_path / "votes.jsonl")]) == 0
    (vote,) = files.read(tmp_path / "votes.jsonl")
    assert (vote.choice, vote.assessor, vote.seconds) == ("left", "7", 2.5)
