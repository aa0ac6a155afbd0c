"""`--dry-run` of every kind of result: what would be done, what is missing, and nothing is."""

from pathlib import Path

import pytest

from repro import __main__ as cli
from repro import experiments
from repro.harness import brief
from repro.harness.experiment import ExperimentError
from repro.kinds import kind_of, kinds
from repro.stages.failures import problem
from swd.errors import PipelineError

BRIEF = [key for key, one in experiments().items() if kind_of(one).plan is not None]
FIRST = {kind_of(one).name: key for key, one in reversed(experiments().items()) if key in BRIEF and one.variant is None}
SAID = {
    "benchmarks": "bench_kernels.py",
    "gallery": "teacher, sampled here: 28 steps, guidance 4",
    "interface": "pictures: the page of one question",
    "latency": "15 timed rounds",
    "preference": "a proxy for votes",
    "reliability": "disk full: 2",
    "support": "SD3.5 Medium",
    "training_cost": "8 orders",
    "validity": "13 on 14 kinds of images, 300 each",
}


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main([*words, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 120
    return " ".join(out.split())


@pytest.mark.parametrize("key", experiments())
def test_every_experiment_takes_a_dry_run(key: str) -> None:
    experiment = experiments()[key]
    assert cli._parser().parse_args([*experiment.command, "--dry-run"]).dry_run


def test_every_kind_has_a_plan() -> None:
    own = {"scores", "spectra", "upscaling"}  # plans with tables of rows
    assert {kind.name for kind in kinds() if kind.plan is None} == own


@pytest.mark.parametrize("kind", SAID)
def test_a_plan_says_what_would_be_done_and_does_nothing(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = planned(capsys, FIRST[kind], "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"))
    assert SAID[kind].lower() in said.lower()
    assert "Time: not known" in said
    assert "Nothing was done; this does it: `python -m repro" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("figure2", "17 iterations of scalewise_6 at batch size 24, on 288 images"),
        ("figure3", "one of scalewise_6: number 0 of the set compositional"),
    ],
)
def test_a_figure_of_the_method_says_what_it_trains_or_samples(
    key: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = planned(capsys, key)
    assert words in said
    assert "Missing: nothing." in said
    assert f"records/{key}.jsonl took " in said


def test_a_plan_names_what_of_a_published_model_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("repro.kinds.method.planned.hub.find", lambda *_: None)
    said = planned(capsys, "figure3", "--profile", "sd35-medium")
    assert "hf download yresearch/swd-medium-6-steps" in said
    said = planned(capsys, "figure10", "--profile", "sd35-medium")
    assert "Missing: in sd35-medium grids show images that were made before: --images ROW=DIR for teacher" in said


@pytest.mark.parametrize("error", [ExperimentError("no student"), PipelineError("no file")])
def test_a_check_that_fails_is_what_is_missing(error: Exception) -> None:
    def check() -> None:
        raise error

    assert problem(check) == str(error)
    assert problem(lambda: None) == ""


def test_records_that_are_not_there_took_no_time(tmp_path: Path) -> None:
    assert brief.before(tmp_path / "none.jsonl").startswith("not known")
