"""Votes in files: what is read, what is refused, and as lines of records."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from harness_world import RUN
from vote_simulation import Study, simulate

from repro.harness.records import RecordError, RecordSet, dumps, load, parse, save
from repro.harness.schema import VoteLine
from repro.harness.votes.files import VoteError, read, write
from repro.harness.votes.grouping import grouped, votes_of
from repro.harness.votes.vote import CRITERIA, Vote

STUDY = Study(strengths={"a": 0.4, "b": 0.0, "c": -0.4}, pairs=(("b", "a"), ("a", "c")), prompts=4, checks=3)
VOTE = Vote(study="s", prompt="p, \u2028 \"1\"", image=0, criterion="defects", left="b", right="a", choice="tie",
            assessor="ada", seconds=1.25)  # fmt: skip


@pytest.fixture(scope="module")
def votes() -> list[Vote]:
    return [VOTE, *simulate(STUDY, np.random.default_rng(1))]


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_what_is_written_is_read_again_in_any_order(votes: list[Vote], tmp_path: Path, ending: str) -> None:
    first, second = tmp_path / f"first{ending}", tmp_path / f"second{ending}"
    write(first, votes)
    write(second, votes[::-1])
    assert first.read_bytes() == second.read_bytes()
    assert set(read(first)) == set(votes)
    assert len(read(first)) == len(votes)


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_marks_and_line_ends_of_other_systems_do_no_harm(votes: list[Vote], tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"votes{ending}"
    write(path, votes)
    plain = read(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert read(path) == plain


def jsonl(*changes: dict[str, Any]) -> str:
    plain = {"study": "s", "prompt": "p", "image": 0, "criterion": "defects", "left": "b", "right": "a",
             "choice": "left", "assessor": "ada", "seconds": 2}  # fmt: skip
    made = [{key: value for key, value in {**plain, **change}.items() if value is not None} for change in changes]
    return "".join(json.dumps(line) + "\n" for line in made)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (jsonl({}, {"image": 1, "criterion": "beauty"}), ":2: criterion must be one of relevance, .* got 'beauty'"),
        (jsonl({}, {"image": 1, "mood": "bad"}), ":2: unknown field 'mood' of a vote"),
        (jsonl({"choice": None}), ":1: a vote without field 'choice'"),
        (jsonl({"image": "0"}), ":1: field 'image' of a vote is '0', expected int"),
        (jsonl({"seconds": True}), ":1: field 'seconds' of a vote is True, expected float"),
        (jsonl({"seconds": -1}), ":1: seconds must be finite and not negative"),
        (jsonl({"right": "b"}), ":1: a pair has two systems, got b"),
        (jsonl({}, {"left": "a", "right": "b", "choice": "right"}), ":2: repeats line 1: s p 000000 defects a b ada"),
        (jsonl({}).replace("2}", "NaN}"), ":1: NaN is not a number"),
        (jsonl({}) + "\n" + jsonl({"image": 1}), ":2: not JSON"),
        ("[1]\n", ":1: expected an object"),
        ("\n", ":1: not JSON"),
    ],
)
def test_the_first_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(text)
    with pytest.raises(VoteError, match=message):
        read(path)


HEADER = "study,prompt,image,criterion,left,right,choice,assessor,seconds\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, "holds no vote"),
        (HEADER + "s,p,x,defects,a,b,left,ada,1\n", ":2: field 'image' of a vote is 'x', expected int"),
        (HEADER + "s,p,0,defects,a,b,left,ada\n", ":2: 8 cells under 9 columns"),
        (HEADER + "s,p,0,defects,a,b,left,ada,nan\n", ":2: seconds must be finite"),
        (HEADER.replace("prompt", "study") + "s,p,0,defects,a,b,left,ada,1\n", ":1: a column occurs twice"),
        (HEADER.replace("prompt", "title") + "s,p,0,defects,a,b,left,ada,1\n", ":2: unknown field 'title'"),
        (HEADER + 's,"p,0\n', ": not CSV"),
    ],
)
def test_the_first_bad_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(text)
    with pytest.raises(VoteError, match=message):
        read(path)


def test_what_is_no_file_of_votes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VoteError, match=r"not from '\.xlsx'"):
        read(tmp_path / "votes.xlsx")
    with pytest.raises(VoteError, match="cannot read votes"):
        read(tmp_path / "absent.csv")
    with pytest.raises(VoteError, match=r"not to '\.json'"):
        write(tmp_path / "votes.json", [VOTE])
    with pytest.raises(VoteError, match="repeats line 1"):
        write(tmp_path / "votes.csv", [VOTE, VOTE])


def task(result: list[dict[str, Any]], data: dict[str, Any] | None = None, **annotation: Any) -> dict[str, Any]:
    shown = {"image1": "/a.png", "image2": "/b.png", "prompt": "p", "image": 0, "criterion": "relevance",
             "left": "a", "right": "b"}  # fmt: skip
    made = {"id": 7, "completed_by": 4, "lead_time": 3.5, "was_cancelled": False, "result": result}
    return {"id": 1, "data": {**shown, **(data or {})}, "annotations": [{**made, **annotation}]}


def pairwise(side: str) -> list[dict[str, Any]]:
    return [{"from_name": "pw", "to_name": "image1,image2", "type": "pairwise", "value": {"selected": side}}]


TIE = [{"from_name": "same", "to_name": "image1", "type": "choices", "value": {"choices": ["Tie"]}}]


def test_votes_of_label_studio_become_votes(tmp_path: Path) -> None:
    path = tmp_path / "project-3.json"
    tasks = [
        task(pairwise("right")),
        task(TIE, {"image": "1", "study": "mine"}, completed_by={"id": 5, "email": "x@example.org"}),
        task([], {"image": 2}, was_cancelled=True),
        task(pairwise("left"), {"image": 3, "expected": "left", "right": "spoilt"}),
    ]
    path.write_text(json.dumps(tasks))
    first, second, check = read(path)
    assert first == Vote(study="project-3", prompt="p", image=0, criterion="relevance", left="a", right="b",
                         choice="right", assessor="4", seconds=3.5)  # fmt: skip
    assert (second.choice, second.image, second.study, second.assessor) == ("tie", 1, "mine", "5")
    assert (check.expected, check.right) == ("left", "spoilt")


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([task(pairwise("left")), task([])], "task 2: expected one of left, right, tie from an annotation, got \\[\\]"),
        ([task(pairwise("left") + TIE)], "task 1: expected one of left, right, tie"),
        ([task(pairwise("both"))], "task 1: expected one of left, right, tie from an annotation, got \\['both'\\]"),
        ([task(TIE, {"criterion": "beauty"})], "task 1: criterion must be one of"),
        ([{"id": 1, "data": {"prompt": "p"}}], "task 1: data without 'image'"),
        ([task(TIE, completed_by=None)], "task 1: an annotation without completed_by"),
        ([task(TIE, lead_time=None)], "task 1: an annotation of 4 without lead_time"),
        ([task(TIE), task(TIE)], "repeats line"),
        ({"tasks": []}, "expected a list of tasks"),
        ([3], "task 1: expected an object with data"),
    ],
)
def test_what_label_studio_did_not_ask_is_refused(tmp_path: Path, tasks: object, message: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    with pytest.raises(VoteError, match=message):
        read(path)


def test_records_hold_votes_whatever_their_order(votes: list[Vote], tmp_path: Path) -> None:
    path = tmp_path / "records" / "table2.jsonl"
    save(path, RecordSet.of([RUN, *grouped(votes)]))
    assert sorted(votes_of(load(path).votes), key=lambda vote: vote.identity) == sorted(
        votes, key=lambda vote: vote.identity
    )
    assert dumps(RecordSet.of([*grouped(votes[::-1]), RUN])) == path.read_text()


def test_seconds_are_kept_to_the_millisecond() -> None:
    (line,) = grouped([replace(VOTE, seconds=1.23456)])
    assert line.seconds == (1.235,)


def test_lines_take_the_words_of_votes() -> None:
    hints, words = get_type_hints(VoteLine), get_type_hints(Vote)
    assert get_args(hints["criterion"]) == CRITERIA
    assert get_args(get_args(hints["choice"])[0]) == get_args(words["choice"])


def test_records_are_smaller_than_votes_one_by_one(votes: list[Vote], tmp_path: Path) -> None:
    write(tmp_path / "votes.jsonl", votes)
    assert len(dumps(RecordSet.of(grouped(votes)))) < 0.6 * (tmp_path / "votes.jsonl").stat().st_size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criterion": "beauty"}, "field 'criterion' of a votes is 'beauty'"),
        ({"choice": ["left", "up"]}, "field 'choice' of a votes"),
        ({"image": [0]}, "columns of one length"),
        ({name: [] for name in ("image", "assessor", "left", "choice", "seconds", "expected")}, "at least 1"),
        ({"first": "z"}, "in the order of names"),
        ({"image": [1, 0]}, "must rise by image, then assessor"),
        ({"image": [0, 0]}, "must rise by image, then assessor, each once"),
        ({"seconds": [1.0, -2.0]}, "seconds of votes must be finite and not negative"),
        ({"image": [-1, 0]}, "must be finite and not negative"),
        ({"second": "a"}, "expected two in the order of names"),
        ({"second": "a", "expected": ["tie", "tie"]}, "left is second where both systems are 'a'"),
        ({"assessor": ["ada", ""]}, "got an empty one"),
        ({"mood": 1}, "unknown field 'mood' of a votes"),
    ],
)
def test_a_line_that_no_votes_give_is_refused(change: dict[str, Any], message: str) -> None:
    (line,) = grouped([VOTE, replace(VOTE, image=1)])
    data = {**json.loads(dumps(RecordSet.of([line]))), **change}
    with pytest.raises(RecordError, match=message):
        parse(json.dumps(data), Path("file"))
