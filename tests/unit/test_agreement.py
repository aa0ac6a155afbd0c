from dataclasses import replace

import pytest
from harness_world import PROFILE, RUN, record

from repro.harness.agreement import BIAS, Verdict, agreement, agreement_table, compared
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.published import column_name, published_value
from repro.harness.reported import Agreement, Reported
from repro.harness.schema import RecordSet
from repro.profiles import load_profile
from repro.table1 import TABLE as TABLE1
from repro.table2 import TABLE as TABLE2
from repro.table4 import TABLE as TABLE4

COCO, MJHQ, GENEVAL = (PromptSet(key, key, reported=name) for key, name in (
    ("coco", "COCO 2014"), ("mjhq", "MJHQ"), ("geneval", "GenEval"),
))  # fmt: skip
WIDE = Reported(
    csv="table4_models.csv",
    label="project page",
    match={},
    columns=(Column("pickscore", "PS"), Column("geneval", "GenEval")),
    prefixes={"COCO 2014": "coco_", "MJHQ": "mjhq_", "GenEval": ""},
    profiles=("toy",),
    agreement={"fid": Agreement(metric="fid", tolerance=1.0), "geneval": Agreement(metric="geneval", tolerance=0.02)},
)
SDXL = Row("sdxl", "SDXL", images=True, reported={"model": "SDXL"})
REAL = replace(
    PROFILE,
    columns=(
        Column("fid", "FID", better="lower", digits=1, prompts=("coco", "mjhq")),
        Column("geneval", "GenEval", better="higher", prompts=("geneval",)),
    ),
    prompt_sets=(COCO, MJHQ, GENEVAL),
)


def test_a_row_of_all_sets_gives_the_column_of_each() -> None:
    assert published_value(WIDE, SDXL, COCO, "pickscore") == 0.226
    assert published_value(WIDE, SDXL, MJHQ, "pickscore") == 0.217
    assert published_value(WIDE, SDXL, GENEVAL, "geneval") == 0.55
    assert column_name(WIDE, GENEVAL, "pickscore") is None
    assert column_name(WIDE, COCO, "geneval") is None
    assert column_name(WIDE, PromptSet("parti", "Parti", reported="PartiPrompts"), "pickscore") is None


def test_another_publication_may_call_a_row_otherwise() -> None:
    v2 = replace(WIDE, csv="table4_models_v2.csv")
    turbo = Row("sdxl_turbo", "SDXL-Turbo", images=True, reported={"model": "SDXL-Turbo"})
    assert published_value(v2, turbo, COCO, "fid") is None
    named = replace(turbo, reported_in={"table4_models_v2.csv": {"model": "SDXL-Turbo (512px)"}})
    assert published_value(v2, named, COCO, "fid") == 17.5
    assert published_value(WIDE, named, COCO, "fid") == 17.6
    assert published_value(WIDE, Row("ours", "Ours", images=True), COCO, "fid") is None


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((13.4, 15.4), Verdict.AGREES),  # the published 14.4, give or take 1.0
        ((13.3, 15.3), Verdict.INCONCLUSIVE),
        ((15.5, 15.9), Verdict.DIFFERS),
        ((12.0, 13.3), Verdict.DIFFERS),
        ((12.0, 17.0), Verdict.INCONCLUSIVE),
        ((None, None), Verdict.AGREES),
    ],
)
def test_a_cell_agrees_by_its_whole_interval(bounds: tuple[float | None, float | None], verdict: Verdict) -> None:
    ours = record("sdxl", "coco", "fid", 14.4, ci_low=bounds[0], ci_high=bounds[1], n=30_000)
    (cell,) = compared([WIDE], [SDXL], REAL, RecordSet.of([RUN, ours]))
    assert (cell.verdict, cell.published, cell.n) == (verdict, 14.4, 30_000)


def test_published_numbers_are_brought_to_the_unit_of_the_records() -> None:
    v2 = replace(
        WIDE,
        csv="table4_models_v2.csv",
        agreement={"pickscore_x100": Agreement(metric="pickscore", tolerance=0.002, scale=100.0)},
    )
    profile = replace(REAL, columns=(Column("pickscore", "PS", digits=3),))
    ours = record("sdxl", "coco", "pickscore", 0.2255, ci_low=0.225, ci_high=0.226)
    (cell,) = compared([v2], [SDXL], profile, RecordSet.of([RUN, ours]))
    assert cell.published == pytest.approx(0.225)
    assert cell.verdict is Verdict.AGREES


def test_nothing_is_compared_in_a_profile_of_other_data() -> None:
    ours = RecordSet.of([RUN, record("sdxl", "coco", "fid", 14.4)])
    assert compared([WIDE], [SDXL], replace(REAL, name="mini"), ours) == ()
    assert agreement(()) == []


def test_the_section_counts_and_shows_both() -> None:
    ours = [
        record("sdxl", "coco", "fid", 14.9, ci_low=14.6, ci_high=15.2),
        record("sdxl", "geneval", "geneval", 0.6, ci_low=0.58, ci_high=0.62),
    ]
    heading, sentence, publication, table, _ = agreement(compared([WIDE], [SDXL], REAL, RecordSet.of([RUN, *ours])))
    assert heading.endswith("published numbers?")
    assert sentence == "Of 2 published numbers that were measured again here: 1 agrees, 1 differs."
    assert publication == "*project page*: 1 agrees, 1 differs."
    assert "Steps" not in table  # a folder of images does not say
    assert "14.4" in table
    assert "14.9 [14.6, 15.2]" in table
    assert "+0.5" in table


def test_rows_of_one_label_are_told_apart_by_their_steps() -> None:
    v1 = replace(TABLE2.publications[0], profiles=("toy",), agreement={"fid": Agreement(metric="fid", tolerance=1.0)})
    real = replace(load_profile("sd35-medium"), name="toy")
    ours = [record(f"scalewise_{steps}", "coco", "fid", 23.0) for steps in (4, 6)]
    cells = compared([v1], TABLE2.rows, real, RecordSet.of([RUN, *ours]))
    assert [(cell.row.label, cell.steps) for cell in cells] == [("Scale-wise", 6), ("Scale-wise", 4)]
    table = agreement(cells)[3]
    places = [line.split("|")[4].strip() for line in table.splitlines()]
    assert [place for place in places if not place.startswith(":")] == ["Steps", "6", "4"]


def test_every_publication_has_a_table_of_its_own() -> None:
    v2 = replace(WIDE, csv="table4_models_v2.csv", label="v2")
    ours = RecordSet.of([RUN, record("sdxl", "coco", "fid", 14.4)])
    sections = agreement(compared([WIDE, v2], [SDXL], REAL, ours))
    assert [block for block in sections if block.startswith("*")] == ["*project page*: 1 agrees.", "*v2*: 1 agrees."]
    assert sections[1].endswith("measured again here: 2 agree.")
    assert all("project page" not in block for block in sections if block.startswith("|"))


def test_a_frechet_distance_is_said_to_follow_from_the_number_of_images() -> None:
    profile = replace(REAL, columns=(replace(REAL.columns[0], role="distribution"), REAL.columns[1]))
    fid, geneval = record("sdxl", "coco", "fid", 14.4), record("sdxl", "geneval", "geneval", 0.55)
    assert agreement(compared([WIDE], [SDXL], profile, RecordSet.of([RUN, fid])))[-1] == BIAS
    assert BIAS not in agreement(compared([WIDE], [SDXL], profile, RecordSet.of([RUN, geneval])))


def test_a_long_table_has_to_be_opened_and_loses_nothing() -> None:
    (cell,) = compared([WIDE], [SDXL], REAL, RecordSet.of([RUN, record("sdxl", "coco", "fid", 14.4)]))
    cells = [replace(cell, n=number) for number in range(50)]
    *_, folded, _ = agreement(cells)
    assert folded.startswith("<details>\n<summary>All 50 numbers</summary>\n\n|")
    assert folded.endswith("|\n\n</details>")
    assert agreement_table(cells) in folded
    assert agreement_table(cells) in agreement(cells, fold=50)
    assert "<details>" not in "".join(agreement(cells[:40]))


FRECHET = replace(REAL, columns=(replace(REAL.columns[0], role="distribution"), REAL.columns[1]))


@pytest.mark.parametrize("value", [14.4, 20.0, 5.0])
def test_a_distance_of_fewer_images_than_the_publications_is_inconclusive_whatever_its_value(value: float) -> None:
    of_30k = replace(WIDE, images=30_000)
    fid = record("sdxl", "coco", "fid", value, n=5_000)
    cells = compared([of_30k], [SDXL], FRECHET, RecordSet.of([RUN, fid]))
    assert [cell.verdict for cell in cells] == [Verdict.INCONCLUSIVE]
    assert "- FID, 1 inconclusive: ours is of 5,000 images, theirs of 30,000." in agreement(cells)
    (as_before,) = compared([WIDE], [SDXL], FRECHET, RecordSet.of([RUN, fid]))
    assert as_before.verdict is (Verdict.AGREES if value == 14.4 else Verdict.DIFFERS)


def test_a_few_skipped_images_do_not_matter_and_scores_are_of_any_number() -> None:
    of_30k = replace(WIDE, images=30_000)
    nearly = record("sdxl", "coco", "fid", 20.0, n=29_990)
    geneval = record("sdxl", "geneval", "geneval", 0.9, n=12)
    cells = compared([of_30k], [SDXL], FRECHET, RecordSet.of([RUN, nearly, geneval]))
    assert [cell.verdict for cell in cells] == [Verdict.DIFFERS, Verdict.DIFFERS]
    assert not any(cell.reason for cell in cells)


@pytest.mark.parametrize("reported", [TABLE1.reported, *TABLE2.publications, *TABLE4.publications])
def test_every_publication_with_a_distance_says_of_how_many_images(reported: Reported) -> None:
    assert any(wanted.metric.startswith("fid") for wanted in reported.agreement.values())
    assert reported.images == (5_000 if reported is TABLE1.reported else 30_000)


def test_what_was_measured_under_other_conditions_is_counted_and_explained() -> None:
    (cell,) = compared([WIDE], [SDXL], REAL, RecordSet.of([RUN, record("sdxl", "coco", "fid", 14.4)]))
    cells = [replace(cell, unlike="ours was timed on an H100, not on an A100"), cell]
    sections = agreement(cells)
    assert sections[1].endswith("measured again here: 1 agrees, 1 not comparable.")
    assert "- FID, 1 not comparable: ours was timed on an H100, not on an A100." in sections
    assert "**not comparable**" in agreement_table(cells)


def test_a_share_of_the_published_number_is_tolerated_where_it_is_more() -> None:
    wanted = Agreement(metric="latency", tolerance=0.005, relative=0.1)
    assert wanted.allowed(0.02) == 0.005
    assert wanted.allowed(2.0) == 0.2
