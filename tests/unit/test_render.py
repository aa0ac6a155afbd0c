import random
from dataclasses import replace
from pathlib import Path

import pytest
from harness_world import PROFILE, RUN, TABLE, draw_once, lines, record

from repro.harness import render
from repro.harness.cells import DASH, Estimate, Footnotes, estimate, glossary, number, paper, signed, with_interval
from repro.harness.experiment import Column, PromptSet, Row, UnknownNameError, Variant
from repro.harness.page import footer
from repro.harness.plots import recorded_digest
from repro.harness.profile import Profile
from repro.harness.published import published
from repro.harness.records import RecordError, RecordSet, save
from repro.harness.schema import Line, Run
from repro.kinds import kind_of
from repro.kinds.scores.declare import Claim, Table, better
from repro.kinds.scores.figure import compute_data
from repro.kinds.scores.page import page
from repro.kinds.scores.result import ScoresResult
from repro.table2 import TABLE as TABLE2

WIDER = replace(TABLE, key="table2_wider", variant=Variant("table2", "wider", "more rows"))
GOLDEN = Path(__file__).parent / "golden" / "toy_table.md"


def find_table(name: str) -> Table:
    if name != TABLE.key:
        raise UnknownNameError("table", name, [TABLE.key])
    return TABLE


def find_profile(name: str) -> Profile:
    return PROFILE


def written(out: Path, made: list[Line]) -> list[Path]:
    save(out / "records" / "table2.jsonl", RecordSet.of(made))
    return render.render(out, render.results(out, find_table, find_profile, kind_of))


@pytest.fixture(autouse=True)
def _quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.kinds.scores.figure.draw_compute", draw_once)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    written(tmp_path, lines())
    return tmp_path


def test_golden_page(out: Path) -> None:
    """The page of a small table, read through by a person once and kept."""
    assert (out / "table2.md").read_text(encoding="utf-8") == GOLDEN.read_text(encoding="utf-8")


def test_the_order_of_the_records_does_not_matter(out: Path, tmp_path: Path) -> None:
    shuffled = lines()
    random.Random(1).shuffle(shuffled)
    written(tmp_path / "again", shuffled)
    for name in ("table2.md", "README.md", "figures/table2_compute.png"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_a_second_render_writes_nothing_and_a_check_agrees(out: Path) -> None:
    found = render.results(out, find_table, find_profile, kind_of)
    assert render.render(out, found) == []
    assert render.check(out, found) == []


def test_a_check_names_what_is_stale_and_render_mends_it(out: Path) -> None:
    (out / "table2.md").write_text("edited by hand")
    (out / "README.md").unlink()
    (out / "figures" / "table2_compute.png").write_bytes(b"torn")
    found = render.results(out, find_table, find_profile, kind_of)
    stale = {file.path.name: file.reason for file in render.check(out, found)}
    assert stale == {
        "table2_compute.png": "not drawn from these records",
        "table2.md": "differs from its records",
        "README.md": "missing",
    }
    assert (out / "table2.md").read_text() == "edited by hand"
    render.render(out, found)
    assert render.check(out, found) == []


def test_new_numbers_make_page_and_figure_stale(out: Path) -> None:
    changed = [line for line in lines() if line != record("small", "short", "distance", 1.5, ci_low=1.25, ci_high=1.75)]
    assert len(changed) == len(lines()) - 1
    names = {path.name for path in written(out, [*changed, record("small", "short", "distance", 1.6)])}
    assert names == {"table2.md", "table2_compute.png"}


def test_pages_without_records_are_named(out: Path) -> None:
    (out / "table9.md").write_text("left over")
    (stale,) = render.check(out, render.results(out, find_table, find_profile, kind_of))
    assert stale.path.name == "table9.md"
    assert "no records" in stale.reason


def test_the_index_has_every_claim_with_its_verdict(out: Path) -> None:
    text = (out / "README.md").read_text(encoding="utf-8")
    for words in ("**reproduced**", "**worse by 10.0 points**", "not tested: the toy world has no metric of this"):
        assert words in text
    (line,) = [line for line in text.splitlines() if line.startswith("| [Toy table](table2.md)")]
    assert [cell.strip() for cell in line.split("|")[4:-1]] == ["1 of 2", DASH, DASH]


def test_a_figure_that_another_run_drew_is_stale(tmp_path: Path) -> None:
    drawn = {"samples": "digest of the grid"}
    written(tmp_path, [replace(line, figures=drawn) if isinstance(line, Run) else line for line in lines()])
    (stale,) = render.check(tmp_path, render.results(tmp_path, find_table, find_profile, kind_of))
    assert stale.path.name == "table2_samples.png"
    assert "run the table again" in stale.reason


def test_figures_are_linked_once_they_exist(out: Path) -> None:
    result = ScoresResult(TABLE, PROFILE, RecordSet.of(lines()))
    assert "table2_samples.png" not in page(result, out)
    (out / "figures" / "table2_samples.png").write_bytes(b"")
    assert "](figures/table2_samples.png)" in page(result, out)
    assert "## Figures" not in page(result, out / "elsewhere")


def test_the_paper_columns_say_that_they_are_another_model(out: Path) -> None:
    text = (out / "table2.md").read_text(encoding="utf-8")
    assert "Another model, other data and other metrics: compare the order of the rows, not the values." in text
    assert TABLE.reported is not None
    same = replace(TABLE, reported=replace(TABLE.reported, profiles=(PROFILE.name,)))
    real = ScoresResult(same, PROFILE, RecordSet.of(lines()))
    assert "Another model" not in page(real, out)


def test_several_seeds_show_their_mean() -> None:
    seeds = [
        record("v", "p", "m", value, seed=seed, ci_low=value - 1, ci_high=value + 1)
        for seed, value in enumerate((2.0, 4.0))
    ]
    shown = estimate(seeds)
    assert shown is not None
    assert shown.value == 3.0
    assert shown.high is not None
    # Between two seeds the standard error is 1 and Student's t 12.706; within a seed the half-width is 1.
    assert shown.high - 3 == pytest.approx((12.706**2 + 1) ** 0.5, rel=1e-3)


def test_records_without_value_give_no_estimate() -> None:
    assert estimate([]) is None
    assert estimate([record("v", "p", "m", None, note="why")]) is None


@pytest.mark.parametrize(
    ("value", "digits", "text", "plus"),
    [
        (57344, 0, "57,344", "+57,344"),
        (0.23, 3, "0.230", "+0.230"),
        (-1.25, 1, "\u22121.2", "\u22121.2"),
        (-0.04, 1, "0.0", "+0.0"),
    ],
)
def test_numbers(value: float, digits: int, text: str, plus: str) -> None:
    assert number(value, digits) == text
    assert signed(value, digits) == plus


def test_percent_columns_scale_value_and_interval() -> None:
    column = Column("a", "A", digits=1, percent=True)
    assert with_interval(Estimate(0.5, 0.25, 0.75), column) == "50.0 [25.0, 75.0]"
    assert with_interval(Estimate(0.5, None, None), column) == "50.0"
    share = replace(column, most=1.0)
    assert with_interval(Estimate(0.99, 0.97, 1.01), share) == "99.0 [97.0, 100.0]"


def test_columns_that_say_what_they_measure_are_in_the_glossary() -> None:
    told = Column("score", "Score", meaning="how much it is")
    assert glossary([told, Column("mute", "Mute")]).splitlines()[-1] == "- *Score*: how much it is."
    assert glossary([Column("mute", "Mute")]) == ""


def test_footnotes_share_letters() -> None:
    notes = Footnotes()
    assert [notes.dash(reason) for reason in ("x", "y", "x")] == ["\u2014 (a)", "\u2014 (b)", "\u2014 (a)"]
    assert notes.text() == "- (a) X.\n- (b) Y."


def test_every_student_of_table_2_finds_its_published_numbers() -> None:
    assert TABLE2.reported is not None
    for prompts, fid in (
        ("COCO 2014", ["23.0", "23.3", "20.4", "21.2", "20.3"]),
        ("MJHQ", ["13.6", "13.7", "13.4", "13.5", "13.1"]),
    ):
        notes = Footnotes()
        shown = [
            paper(TABLE2.reported, row, PromptSet("p", "p", reported=prompts), TABLE2.reported.columns[-1], notes)
            for row in TABLE2.rows
        ]
        assert shown == [*["\u2014 (a)"] * 3, *fid]
        assert notes.reasons == ["The paper's Table 2 has no such row."]


def test_an_ambiguous_published_row_is_an_error() -> None:
    assert TABLE2.reported is not None
    loose = Row("r", "R", reported={"setup": "Full-scale"})
    with pytest.raises(ValueError, match="3 rows match"):
        paper(TABLE2.reported, loose, PromptSet("p", "p", reported="MJHQ"), TABLE2.reported.columns[0], Footnotes())


def test_published_files_are_complete() -> None:
    assert len(published("table2_scalewise_vs_fullscale.csv")) == 10
    assert len(published("table4_models_v2.csv")) == 18


def test_records_under_a_wrong_name_are_refused(out: Path) -> None:
    (out / "records" / "table2.jsonl").rename(out / "records" / "table3.jsonl")
    with pytest.raises(RecordError, match=r"table3\.jsonl: holds table2 of profile toy, expected in table2\.jsonl"):
        render.results(out, find_table, find_profile, kind_of)


def test_records_of_an_unknown_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown table 'table22'; did you mean table2"):
        written(tmp_path, [replace(RUN, table="table22")])


def test_records_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no run"):
        written(tmp_path, [])


def test_a_run_without_numbers_still_renders(tmp_path: Path) -> None:
    written(tmp_path, [RUN])
    text = (tmp_path / "table2.md").read_text(encoding="utf-8")
    assert "not measured" in text
    assert "Not measured yet." in text
    assert not (tmp_path / "figures").exists()


def test_provenance_is_told_as_it_was(tmp_path: Path) -> None:
    def line(run: Run) -> str:
        written(tmp_path, [run])
        return (tmp_path / "table2.md").read_text(encoding="utf-8").splitlines()[-1]

    assert "commit 0123456789, cpu" in line(RUN)
    assert "commit 0123456789 with local changes, cpu" in line(replace(RUN, dirty=True))
    assert "no commit, cpu" in line(replace(RUN, commit=None, dirty=None))


@pytest.mark.parametrize(
    ("table", "name", "command"),
    [
        (TABLE, "mini", "nox -s table2"),
        (TABLE, "toy", "nox -s table2 -- --profile toy"),
        (WIDER, "mini", "nox -s table2 -- --wider"),
        (WIDER, "toy", "nox -s table2 -- --wider --profile toy"),
    ],
)
def test_a_page_says_how_to_make_it_again(table: Table, name: str, command: str) -> None:
    assert command in footer(ScoresResult(table, replace(PROFILE, name=name), RecordSet()))[1].splitlines()


def test_file_names_carry_the_suffix_of_the_profile() -> None:
    assert replace(PROFILE, suffix="sd35-medium").stem(TABLE.key) == "table2.sd35-medium"


def test_a_claim_about_an_unknown_row_is_refused_when_declared() -> None:
    with pytest.raises(ValueError, match=r"claim 'c' names unknown rows \['nobody'\]"):
        replace(TABLE, claims=(Claim("c", "c", better("prompt_alignment", "small", "nobody")),))
    with pytest.raises(ValueError, match="claim 'c' names unknown role 'accuracy'"):
        replace(TABLE, claims=(Claim("c", "c", better("accuracy", "small", "big")),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="row keys repeat"):
        replace(TABLE, rows=(*TABLE.rows, TABLE.rows[0]))
    with pytest.raises(UnknownNameError, match="did you mean small"):
        TABLE.row("smal")


def test_the_figure_carries_the_digest_of_its_data(out: Path) -> None:
    data = compute_data(TABLE, PROFILE, RecordSet.of(lines()))
    assert recorded_digest(out / "figures" / "table2_compute.png") == data.digest
