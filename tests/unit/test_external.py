import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from repro.metrics import external
from repro.metrics.base import MemoryMeasured
from repro.metrics.external import ExternalScore, Scorer, ScorerError
from repro.metrics.external_run import Request, scores_of

RUNNERS = Path(external.__file__).parent / "runners"
# A scorer of its own: the length of the caption; it says which ids it was asked for.
PROGRAM = """
import json, sys
requests, results = sys.argv[1:3]
with open(results, "a") as stream:
    for line in reversed([json.loads(line) for line in open(requests)]):
        print(json.dumps({"id": line["id"], "score": len(line["caption"])}), file=stream)
"""
CAPTIONS = {"p1": "a red star", "p2": "two dogs", "r\u00e9": "{requests} {results}"}


def requests() -> list[Request]:
    return [Request(name, Path(f"{name}.png"), caption) for name, caption in CAPTIONS.items()]


def scorer(tmp_path: Path, program: str = PROGRAM) -> Scorer:
    path = tmp_path / "my scorer.py"
    path.write_text(program)
    return Scorer.parse(f"mine={shlex.quote(sys.executable)} {shlex.quote(str(path))} {{requests}} {{results}}")


def test_scores_come_from_a_command_once(tmp_path: Path) -> None:
    folder = tmp_path / "row"
    mine = scorer(tmp_path)
    expected = {name: float(len(caption)) for name, caption in CAPTIONS.items()}
    assert scores_of(mine, requests(), folder) == expected
    assert [json.loads(line)["id"] for line in (folder / "requests.jsonl").read_text().splitlines()] == list(CAPTIONS)
    (tmp_path / "my scorer.py").write_text("raise SystemExit(3)")
    assert scores_of(mine, requests(), folder) == expected  # not run again
    assert scores_of(Scorer(key="mine"), requests(), folder) == expected


def test_requests_name_whole_paths(tmp_path: Path) -> None:
    scores_of(scorer(tmp_path), requests(), tmp_path / "row")
    line = json.loads((tmp_path / "row" / "requests.jsonl").read_text().splitlines()[0])
    assert line == {"id": "p1", "image": str(Path("p1.png").resolve()), "caption": "a red star"}


def test_a_metric_looks_scores_up_by_id(tmp_path: Path) -> None:
    metric = ExternalScore(scorer(tmp_path), {"p1": 1.5, "p2": -2.0, "3": 4.0})
    prompts = [{"id": "p2"}, {"id": 3}, {"id": "p1"}]
    found = metric.measure([], prompts)
    np.testing.assert_array_equal(found["mine"], [-2.0, 4.0, 1.5])
    estimates = metric.estimates(MemoryMeasured(prompts, {"mine": [found["mine"]]}))
    assert (estimates["mine"].value, estimates["mine"].n) == (pytest.approx(3.5 / 3), 3)
    assert metric.inputs() != ExternalScore(scorer(tmp_path), {"p1": 1.5, "p2": -2.0}).inputs()
    with pytest.raises(ScorerError, match="mine has no score for prompt 'p9'"):
        metric.measure([], [{"id": "p9"}])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"id": "p1", "score": 1}, {"id": "p2", "score": 1}], "1 of 3 images have no score, the first is 'r\u00e9'"),
        ([{"id": "p1", "score": 1}, {"id": "p1", "score": 1}], r":2: id 'p1' is there twice"),
        ([{"id": "p7", "score": 1}], r":1: id 'p7' was not asked for"),
        ([{"id": "p1", "score": float("nan")}], r":1: the score of 'p1' must be a finite number, got nan"),
        ([{"id": "p1", "score": float("inf")}], "must be a finite number, got inf"),
        ([{"id": "p1", "score": None}], "must be a finite number, got None"),
        ([{"id": "p1", "score": True}], "must be a finite number, got True"),
        ([{"id": "p1", "score": "1.0"}], "must be a finite number, got '1.0'"),
        ([{"id": 1, "score": 1.0}], "an id is a string as in the requests, got 1"),
        ([{"id": "p1"}], r':1: expected \{"id": ..., "score": ...\}, got'),
        (["p1, 1.0"], "expected"),
    ],
)
def test_results_that_are_not_a_number_per_image_are_refused_by_line(
    lines: list[object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ScorerError, match=message):
        scores_of(Scorer(key="mine"), requests(), tmp_path)


def test_results_of_windows_are_read(tmp_path: Path) -> None:
    lines = (json.dumps({"id": name, "score": 2}, ensure_ascii=False) for name in CAPTIONS)
    (tmp_path / "results.jsonl").write_bytes(("\ufeff" + "\r\n\r\n".join(lines)).encode())
    assert scores_of(Scorer(key="mine"), requests(), tmp_path) == dict.fromkeys(CAPTIONS, 2.0)
    (tmp_path / "results.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(ScorerError, match="is no UTF-8 text"):
        scores_of(Scorer(key="mine"), requests(), tmp_path)


def test_a_scorer_that_fails_is_named_and_keeps_what_it_did(tmp_path: Path) -> None:
    broken = PROGRAM + "raise SystemExit(3)\n"
    with pytest.raises(ScorerError, match=r"scorer mine failed with exit status 3: .*my scorer\.py"):
        scores_of(scorer(tmp_path, broken), requests(), tmp_path / "row")
    assert len((tmp_path / "row" / "results.part.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "row" / "results.jsonl").exists()
    with pytest.raises(ScorerError, match=r"cannot start scorer mine: .*no-such-program"):
        scores_of(Scorer.parse("mine=no-such-program {requests} {results}"), requests(), tmp_path / "other")
    with pytest.raises(ScorerError, match=r"the scorer wrote no .*results"):
        scores_of(scorer(tmp_path, "pass"), requests(), tmp_path / "third")


def test_without_command_and_results_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match=r"no results of scorer mine: .*requests\.jsonl.*results\.jsonl.*mine="):
        scores_of(Scorer.parse("mine"), requests(), tmp_path)
    assert (tmp_path / "requests.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my scorer=run {requests} {results}", "got 'my scorer'"),
        ("=run {requests} {results}", "got ''"),
        ("mine=run {requests}", "scorer mine has no {results}: 'run {requests}'"),
        ("mine=run", "has no {requests} and no {results}"),
        ('mine=run "{requests} {results}', "No closing quotation"),
    ],
)
def test_bad_declarations_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scorer.parse(text)


def test_requests_need_ids_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two images have the id 'p1'"):
        scores_of(Scorer(key="mine"), [*requests(), requests()[0]], tmp_path)
    with pytest.raises(ValueError, match="no images to score"):
        scores_of(Scorer(key="mine"), [], tmp_path)


HPSV3 = """
class HPSv3RewardInferencer:
    def __init__(self, device): assert device == "cpu"
    def reward(self, image_paths, prompts):
        import torch
        assert all(path.endswith(".png") for path in image_paths)
        return torch.tensor([[len(prompt), 100.0] for prompt in prompts])
"""


def test_the_hpsv3_program_keeps_the_mean_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hpsv3.py").write_text(HPSV3)  # the package's interface: paths and captions in, (mean, spread) out
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "row").mkdir()
    (tmp_path / "row" / "results.part.jsonl").write_text('{"id": "p2", "score": 7.5}\n{"id": "p1", "sc')
    ready = external.hpsv3(sys.executable, device="cpu")
    assert ready.key == "hpsv3"
    scores = scores_of(ready, requests(), tmp_path / "row")
    assert scores == {"p1": 10.0, "p2": 7.5, "r\u00e9": 20.0}


@pytest.mark.parametrize("program", ["hpsv3_official.py", "image_reward_official.py"])
def test_programs_need_nothing_of_this_project(program: str) -> None:
    words = [sys.executable, "-S", str(RUNNERS / program), "--help"]  # without site-packages
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env={})
    assert done.returncode == 0, done.stderr
    assert "requests" in done.stdout
