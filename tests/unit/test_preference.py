"""Figures of preferences: votes of a study or a proxy by a metric, from the command line to the page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness_world import RUN
from vote_simulation import Study, simulate

from repro import __main__ as cli
from repro import figure5, figure7, figure9, load_experiment
from repro.harness.plots import recorded_digest
from repro.harness.published import published
from repro.harness.records import RecordError, RecordSet, load, save
from repro.harness.schema import PerImage
from repro.harness.votes.files import write
from repro.harness.votes.vote import CRITERIA, Vote
from repro.kinds.preference.declare import Pair
from repro.kinds.preference.figure import drawing, head
from repro.kinds.preference.page import page
from repro.kinds.preference.result import PreferenceResult
from repro.profiles import load_profile

MEDIUM = load_profile("sd35-medium")
PAIRS = figure7.FIGURE.pairs_of(MEDIUM)
STUDY = Study(
    strengths={name: 0.2 for pair in PAIRS for name in (pair.candidate, pair.baseline)} | {"swd_medium_6": 0.8},
    pairs=tuple((pair.candidate, pair.baseline) for pair in PAIRS),
    prompts=12,
    images=1,
    checks=8,
    assessors=("ada", "bo", "cy", "dee"),
    careless=("cy",),
    criteria=("relevance", "defects"),
)
Command = Callable[..., int]


@pytest.fixture(scope="module")
def votes() -> list[Vote]:
    return simulate(STUDY, np.random.default_rng(2))


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return lambda *words: cli.main([*words, "--out", str(tmp_path), "--work", str(tmp_path / "work")])


@pytest.fixture(scope="module")
def voted(votes: list[Vote], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of Figure 7 by votes, with the scores of a metric that sees what assessors see."""
    folder = tmp_path_factory.mktemp("voted")
    write(folder / "export.jsonl", votes)
    prompts = sorted({vote.prompt for vote in votes if not vote.expected})
    rows = [f"{prompt},0,{system},{theta}" for prompt in prompts for system, theta in STUDY.strengths.items()]
    (folder / "scores.csv").write_text("\n".join(["prompt,image,system,score", *rows]) + "\n")
    words = ["figure7", "--profile", "sd35-medium", "--votes", str(folder / "export.jsonl"),
             "--scores", str(folder / "scores.csv"), "--out", str(folder), "--work", str(folder / "work")]  # fmt: skip
    assert cli.main(words) == 0
    return folder


@pytest.fixture(scope="module")
def by_votes(voted: Path) -> PreferenceResult:
    return PreferenceResult(figure7.FIGURE, MEDIUM, load(voted / "records" / "figure7.sd35-medium.jsonl"))


def test_the_page_of_a_study_says_all_that_follows_from_its_votes(voted: Path) -> None:
    text = (voted / "figure7.sd35-medium.md").read_text(encoding="utf-8")
    assert text.startswith("# Figure 7: preference, SwD against other models\n")
    for words in (
        "## Relevance to the prompt",
        "## Fewer defects",
        "Published, %",
        "Davidson's model of all 216 votes",
        "Krippendorff's alpha among assessors",
        "attention checks): cy (left out).",
        "## How far a metric agrees with these votes",
        "nox -s figure7 -- --votes EXPORT.jsonl --profile sd35-medium",
    ):
        assert words in text
    assert "## Aesthetics" not in text
    assert str(voted) not in text  # where files lie is a matter of one machine
    assert "--votes export.jsonl --scores scores.csv`" in text
    assert "roxy" not in text.partition("## How far")[0]


def test_the_page_can_be_written_again_from_its_records(voted: Path) -> None:
    assert cli.main(["render", "--check", "--out", str(voted)]) == 0


def test_shares_in_the_records_are_those_of_the_votes_in_them(by_votes: PreferenceResult) -> None:
    for pair in by_votes.pairs:
        for criterion in by_votes.questions:
            record, found = by_votes.share(pair, criterion), by_votes.outcomes(pair, criterion)
            assert record is not None
            assert record.value == pytest.approx(found.points.mean())
            assert record.n == 12
    assert {vote.assessor for vote in by_votes.used} == {"ada", "bo", "dee"}


def test_published_shares_stand_beside_and_are_never_ours(by_votes: PreferenceResult) -> None:
    lines = {line["baseline"]: line for line in published("fig7_human_win_rates.csv")}
    assert by_votes.published(PAIRS[0], "relevance") == float(lines["SDXL"]["relevance"])
    assert by_votes.published(Pair("a", "b"), "relevance") is None
    ours = [by_votes.share(pair, "relevance") for pair in PAIRS]
    assert all(one is not None and "published" not in one.metric for one in ours)


def test_careless_assessors_count_where_that_is_asked(votes: list[Vote], command: Command, tmp_path: Path) -> None:
    write(tmp_path / "export.csv", votes)
    words = ("figure7", "--profile", "sd35-medium", "--votes", str(tmp_path / "export.csv"), "--keep-careless")
    assert command(*words) == 0
    text = (tmp_path / "figure7.sd35-medium.md").read_text(encoding="utf-8")
    assert "cy (kept, as was asked for)" in text
    assert "Davidson's model of all 288 votes" in text


BAD_VOTES: dict[str, tuple[Callable[[list[Vote]], list[Vote]], str]] = {
    "unknown system": (
        lambda votes: [replace(votes[-1], left="dalle", right="sdxl"), *votes],
        "a vote of 'dalle', which figure7 does not compare in sd35-medium; its systems: dmd2_sdxl, infinity",
    ),
    "undeclared pair": (
        lambda votes: [replace(votes[-1], left="switti", right="sdxl"), *votes],
        "a vote of 'switti' against 'sdxl', which is no pair of figure7",
    ),
    "pair without votes": (
        lambda votes: [vote for vote in votes if "switti" not in (vote.left, vote.right)],
        "no vote on swd_medium_6 against switti in relevance",
    ),
    "two studies": (lambda votes: [replace(votes[0], study="other"), *votes], "votes of 2 studies, other, simulated"),
    "only checks": (lambda votes: [vote for vote in votes if vote.expected], "no votes but of attention checks"),
    "few prompts": (
        lambda votes: [vote for vote in votes if vote.expected or vote.prompt < "prompt-009"],
        "an interval over prompts needs at least 10 of them, got 9",
    ),
}


@pytest.mark.parametrize("case", BAD_VOTES)
def test_votes_that_do_not_fit_the_figure_are_refused(
    case: str, votes: list[Vote], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = BAD_VOTES[case]
    write(tmp_path / "votes.jsonl", spoil(votes))
    assert command("figure7", "--profile", "sd35-medium", "--votes", str(tmp_path / "votes.jsonl")) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--keep-careless"], "--keep-careless needs --votes"),
        (["--scores", __file__], "--scores needs --votes"),
        (["--votes", __file__, "--records", __file__], "--records is of the proxy by a metric"),
        (["--votes", "nowhere.jsonl"], "no such file: nowhere.jsonl"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: list[str], message: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("figure5", *words) == 2
    assert message in capsys.readouterr().err


def synthetic(seeds: tuple[int, ...] = (3, 4)) -> RecordSet:
    """Records of Table 5 with known scores: the full loss better by 0.1, 0, -0.1 in turn; better on every image by
    more of what comes later in the list of ablations."""
    lines: list[object] = [replace(RUN, table="table5", profile="mini")]
    lines.append(PerImage.of(range(30), variant="captions", prompts="compositional", metric="captions", seed=0))
    for seed in seeds:
        for place, system in enumerate(figure9.FIGURE.systems):
            gap = np.tile([0.1, 0.005, -0.1], 10) if place else np.zeros(30)
            values = 0.5 - gap - (0.2 if place > 3 else 0.0)
            lines.append(PerImage.of(values, variant=system, prompts="compositional", metric="scene_score", seed=seed))
    return RecordSet.of(lines)  # type: ignore[arg-type]


def test_figure_9_without_records_says_what_is_missing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("repro.kinds.preference.measure.ROOT", tmp_path)
    assert command("figure9") == 1
    told = capsys.readouterr().err
    assert f"from the records of table5, which are missing: {tmp_path}/records/table5.jsonl" in told
    assert "python -m repro table5 --profile mini" in told


def test_figure_9_judges_by_the_metric_once_there_are_records(command: Command, tmp_path: Path) -> None:
    save(tmp_path / "table5.jsonl", synthetic())
    assert command("figure9", "--records", str(tmp_path / "table5.jsonl")) == 0
    text = (tmp_path / "figure9.md").read_text(encoding="utf-8")
    assert "(proxy by a metric, no votes)\n" in text
    assert "could not be recovered" in text
    assert "training seed 3 of every student" in text
    found = PreferenceResult(figure9.FIGURE, load_profile("mini"), load(tmp_path / "records" / "figure9.jsonl"))
    first, last = found.pairs[0], found.pairs[-1]
    assert found.outcomes(first, "scene_score").counts == (10, 10, 10)
    assert found.outcomes(last, "scene_score").counts == (30, 0, 0)
    record = found.share(last, "scene_score")
    assert record is not None
    assert record.value == 1.0
    assert record.ci_low == pytest.approx(0.025 ** (1 / 30))
    assert found.proxy["margin"] == 0.01
    assert found.records.runs[0].stage_commits == (RUN.commit,)


def test_records_without_the_systems_are_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [line for line in synthetic().lines if getattr(line, "variant", "") != "no_gan"]
    save(tmp_path / "table5.jsonl", RecordSet.of(kept))
    assert command("figure9", "--records", str(tmp_path / "table5.jsonl")) == 1
    assert "no values of scene_score per image of no_gan" in capsys.readouterr().err


def test_votes_and_proxy_never_share_a_file(by_votes: PreferenceResult) -> None:
    line = next(one for one in synthetic().per_image if one.metric == "scene_score")
    mixed = RecordSet.of([*by_votes.records.lines, line])
    with pytest.raises(RecordError, match="holds votes and a proxy by a metric"):
        replace(by_votes, records=mixed)
    with pytest.raises(RecordError, match="neither votes nor values"):
        replace(by_votes, records=RecordSet.of(by_votes.records.runs))


def test_a_proxy_does_not_take_the_place_of_votes_unasked(
    voted: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records" / "figure9.jsonl"
    save(tmp_path / "table5.jsonl", synthetic())
    path.parent.mkdir()
    votes_there = (voted / "records" / "figure7.sd35-medium.jsonl").read_bytes()
    path.write_bytes(votes_there)
    assert command("figure9", "--records", str(tmp_path / "table5.jsonl")) == 1
    assert "holds votes, and a proxy would take its place: --replace" in capsys.readouterr().err
    assert path.read_bytes() == votes_there
    assert command("figure9", "--records", str(tmp_path / "table5.jsonl"), "--replace") == 0


def test_a_proxy_says_so_in_title_caption_and_figure(command: Command, tmp_path: Path) -> None:
    save(tmp_path / "table5.jsonl", synthetic())
    assert command("figure9", "--records", str(tmp_path / "table5.jsonl")) == 0
    records = load(tmp_path / "records" / "figure9.jsonl")
    proxy = PreferenceResult(figure9.FIGURE, load_profile("mini"), records)
    text = page(proxy, Path())
    assert proxy.title.endswith("(proxy by a metric, no votes)")
    assert text.count("no votes") >= 3
    assert "**A proxy: no person saw these images.**" in text
    assert head(proxy) == "Proxy by a metric: no person voted"


def test_the_figure_is_drawn_from_shares_alone(by_votes: PreferenceResult, voted: Path) -> None:
    path = voted / "figures" / "figure7.sd35-medium_shares.png"
    assert recorded_digest(path) == drawing(by_votes).digest
    (*others, last) = by_votes.records.records
    assert last.metric.startswith("win_share")
    moved = replace(by_votes.records, records=(*others, replace(last, value=0.123)))
    assert drawing(replace(by_votes, records=moved)).digest != drawing(by_votes).digest


def test_every_criterion_of_a_vote_has_a_panel() -> None:
    for name in ("figure5", "figure7", "figure9"):
        figure = load_experiment(name)
        assert tuple(figure.criteria) == CRITERIA  # type: ignore[attr-defined]


def test_a_pair_of_unknown_systems_is_refused() -> None:
    with pytest.raises(ValueError, match="figure5 compares 'nobody', which is not among teacher"):
        replace(figure5.FIGURE, pairs=(Pair("nobody", "teacher"),))
