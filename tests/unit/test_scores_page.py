"""What the page of a table of scores says of a profile of published models, with records made up here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness_world import ACCURACY, PROFILE, RUN, TABLE, lines, record

from repro.harness.cells import Footnotes
from repro.harness.claims import Verdict
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.published import column_name, published_cost
from repro.harness.schema import CAPTIONS, Line, PerImage, Record, RecordSet, Series
from repro.kinds.scores.against_figure import against_data
from repro.kinds.scores.declare import SKIPPED, Check, Claim, Table, better
from repro.kinds.scores.figure import drawing
from repro.kinds.scores.lines import score_records
from repro.kinds.scores.page import known_effect, page
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.teachers import teacher_of
from repro.metrics import Estimate, EvaluationResult
from repro.metrics.base import Skipped
from repro.profiles import load_profile
from repro.table2 import TABLE as TABLE2
from repro.table2 import V1 as V1_TABLE2
from repro.table4 import TABLE as TABLE4

MEDIUM = load_profile("sd35-medium")
IMAGES = {"coco": (6, 6), "mjhq": (6, 6), "geneval": (12, 3), "diversity": (24, 6)}  # and captions


def real(found: Record, profile: str = MEDIUM.name, table: str = "table2") -> Record:
    return replace(found, profile=profile, table=table)


def asked() -> list[Line]:
    return [
        PerImage.of(
            [float(index % captions) for index in range(images)],
            variant=CAPTIONS,
            prompts=prompts,
            metric=CAPTIONS,
            seed=0,
        )
        for prompts, (images, captions) in IMAGES.items()
    ]


def scored(variant: str, diversity: float | None = None) -> list[Record]:
    found = [
        real(record(variant, prompts, column.key, 0.5))
        for column in MEDIUM.columns
        for prompts in column.prompts
        if not column.detail and column.key != "diversity"
    ]
    return [*found, *([] if diversity is None else [real(record(variant, "diversity", "diversity", diversity))])]


def shown(made: Sequence[Line], table: Table = TABLE2, profile: str = MEDIUM.name) -> str:
    runs = [replace(RUN, profile=profile, table=table.key)]
    return page(ScoresResult(table, load_profile(profile), RecordSet.of([*runs, *made])), Path("nowhere"))


def section(text: str, heading: str) -> str:
    """Of a page, up to the next heading."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def cells(text: str, label: str, heading: str) -> list[str]:
    """Of all lines of the table that a section begins with and that have that label, one column."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    place = [head.strip() for head in table[0].split("|")].index(heading)
    rows = [[cell.strip() for cell in line.split("|")] for line in table[2:]]
    return [row[place] for row in rows if row[1] == label]


# which columns a table has


def test_a_set_of_prompts_shows_the_columns_of_the_paper_that_have_numbers_there() -> None:
    text = shown([*asked(), *scored("scalewise_4", 0.3)])
    assert "PS (paper)" in section(text, "COCO 2014")
    for name in ("GenEval", "Four seeds of a prompt"):
        assert "paper" not in section(text, name)
        assert "(here)" in section(text, name)


@pytest.mark.parametrize(
    ("prompts", "wanted"), [("COCO 2014", "pickscore"), ("MJHQ", "pickscore"), ("GenEval", None), ("", None)]
)
def test_a_publication_without_a_set_has_no_column_of_it(prompts: str, wanted: str | None) -> None:
    assert column_name(V1_TABLE2, PromptSet("p", "p", reported=prompts), "pickscore") == wanted


def test_a_column_without_any_number_is_none() -> None:
    assert column_name(V1_TABLE2, PromptSet("p", "p", reported="COCO 2014"), "hpsv3") is None


def test_details_are_told_set_by_set_of_the_rows_that_have_them() -> None:
    made = [real(record("scalewise_4", prompts, "fid_inf", value)) for prompts, value in (("coco", 7), ("mjhq", 8))]
    made += [real(record("teacher", "coco", "fid_inf", 9))]
    text = section(shown(made), "In detail")
    coco, mjhq = text.split("### ")[1:]
    assert "HPSv3" not in text
    assert cells(coco, "Teacher", "FID, infinite images \u2193") == ["9.0"]
    assert cells(coco, "Scale-wise", "FID, infinite images \u2193") == ["7.0"]
    assert "Teacher" not in mjhq


def test_costs_stand_once_in_a_table_with_a_clock_beside_the_published_ones() -> None:
    made = [
        real(record("swd_medium_6", "", "latency", 0.2), table="table4"),
        real(record("swd_medium_6", "", "parameters", 2.2e9), table="table4"),
        real(record("swd_medium_6", "", "tokens", 9_000), table="table4"),
        *(real(found, table="table4") for found in scored("swd_medium_6")),
    ]
    text = shown(made, TABLE4)
    costs = section(text, "What a row costs")
    assert cells(costs, "SwD Medium", "Latency, s (paper) \u2193")[0] == "0.17"
    assert cells(costs, "SwD Medium", "Latency, s (here) \u2193")[0] == "0.200"
    assert cells(costs, "SwD Medium", "Parameters, B (here)")[0] == "2.2"
    assert "FLOPs" not in text  # no row is the teacher: nothing is relative to it
    assert "The paper's are of one A100, in float16 with everything compiled and a tiny VAE." in text
    assert "Latency" not in section(text, "COCO 2014")


def test_a_published_cost_is_found_by_the_row_alone() -> None:
    assert TABLE4.reported is not None
    assert published_cost(TABLE4.reported, TABLE4.row("swd_medium_6"), "latency_s_per_image") == 0.17
    assert published_cost(TABLE4.reported, TABLE4.row("swd_medium_4"), "latency_s_per_image") is None
    assert published_cost(V1_TABLE2, TABLE2.row("scalewise_4"), "fid") is None


# what the caption says


def test_the_caption_counts_the_images_of_every_set() -> None:
    counts = "(COCO 2014: 6; MJHQ-30K: 6; GenEval: 12 of 3 captions; Four seeds of a prompt: 24 of 6 captions)"
    assert f"measured, images for each row by prompt set {counts}, 95 %" in shown([*asked(), *scored("teacher")])


def test_only_a_guided_teacher_pays_twice() -> None:
    def costs(profile: str) -> list[Line]:
        found = (record("teacher", "", "tokens", 9), record("teacher", "", "relative_flops", 1))
        return [real(line, profile) for line in found]

    assert "takes 40 steps with guidance 4.5 and pays twice for each." in shown(costs("sd35-medium"))
    assert "takes 30 steps." in shown(costs("flux"), profile="flux")


def test_another_model_on_the_same_data_is_called_that() -> None:
    text = shown([], profile="sd35-large")
    assert "Another model: compare the order of the rows, not the values." in text
    assert "The same models, data and metrics: compare values." in shown([])


def test_notes_of_the_mini_world_stay_there() -> None:
    assert "the mini world" not in shown([], TABLE4)
    assert "project page's row *SwD Medium* differs" in shown([], TABLE4)


# images that were skipped


def test_skipped_images_are_counted_in_the_caption_and_at_their_row_with_reasons() -> None:
    lost = real(record("scalewise_4", "coco", SKIPPED, 2, note="7: truncated; 9: 3 x 5 pixels"))
    text = shown([*asked(), *scored("scalewise_4"), lost])
    assert "> **Skipped images: 2**, which are in no number. Scale-wise at 4 steps, COCO 2014: 2." in text
    coco = section(text, "COCO 2014")
    assert "2 of 6 images of this row skipped, in none of its numbers; by id: 7: truncated; 9: 3 x 5 pixels." in coco
    assert cells(coco, "Scale-wise (c)", "Steps") == ["4"]
    assert "skipped" not in section(text, "MJHQ-30K")


def test_nothing_is_said_of_skipped_images_where_there_are_none() -> None:
    assert "kipped" not in shown([*asked(), *scored("scalewise_4")])


def test_skipped_images_of_several_training_seeds_are_added() -> None:
    lost = [real(record("scalewise_4", "coco", SKIPPED, 1, seed=seed, note=f"{seed}: torn")) for seed in (0, 1)]
    text = shown([*asked(), *lost])
    assert "**Skipped images: 2**" in text
    assert "2 of 12 images of this row skipped, in none of its numbers; by id: 0: torn; 1: torn" in text


def test_numbers_of_a_set_leave_their_replicates_and_undetermined_ones_their_reason() -> None:
    values = {
        "distance": Estimate(3.0, 2.0, 4.0, 40, replicates=(2.9, 3.1234567)),
        "spread": Estimate(float("nan"), None, None, 40, "No caption repeats."),
    }
    record, series, empty = score_records(RUN, "row", "coco", 3, EvaluationResult({}, values))
    assert isinstance(series, Series)
    assert (record.value, series.variant, series.over, series.n) == (3.0, "row", "replicate", 40)
    assert (series.metric, series.values) == ("distance without one group, coco, seed 3", (2.9, 3.12346))
    assert (empty.value, empty.note) == (None, "No caption repeats.")
    assert [*score_records(RUN, "row", "coco", 3, EvaluationResult({}, values), left_out={"distance"})] == [empty]


@pytest.mark.parametrize(("count", "more"), [(3, ""), (5, "; and 2 more")])
def test_the_record_of_skipped_images_names_the_first_and_counts_the_rest(count: int, more: str) -> None:
    skipped = tuple(Skipped(str(number), "torn") for number in range(count))
    (found,) = score_records(RUN, "row", "coco", 0, EvaluationResult({}, {}, skipped))
    assert isinstance(found, Record)
    assert found.value == count
    assert found.note == "; ".join(f"{number}: torn" for number in range(3)) + more


# remarks, and shares of the teacher


def test_a_remark_on_a_number_is_a_footnote_of_it() -> None:
    made = [*lines(), record("small", "long", "distance", 3.0, note="Few images.")]
    text = page(ScoresResult(TABLE, PROFILE, RecordSet.of(made)), Path("nowhere"))
    long = section(text, "Long captions")
    (cell,) = cells(long, "Scale-wise", "Distance (here) \u2193")
    assert cell.startswith("3.00 (")
    assert f"- {cell.removeprefix('3.00 ')} Few images." in long


def test_more_notes_than_letters() -> None:
    notes = Footnotes()
    marks = [notes.dash(f"reason {number}") for number in range(30)]
    assert marks[25:28] == ["\u2014 (z)", "\u2014 (aa)", "\u2014 (ab)"]
    assert len(set(marks)) == 30


def test_diversity_stands_beside_its_share_of_the_teachers() -> None:
    made = [*asked(), *scored("teacher", 0.4), *scored("scalewise_4", 0.3), *scored("other", 0.2)]
    table = section(shown(made), "Four seeds of a prompt")
    of_teacher = "Diversity of the teacher's, %"
    assert cells(table, "Teacher", of_teacher) == ["100"]
    assert "75" in cells(table, "Scale-wise", of_teacher)
    assert cells(table, "other", of_teacher) == ["\u2014"]


@pytest.mark.parametrize(
    ("row", "teacher"),
    [
        ("swd_medium_6", "sd35_medium"),
        ("dmd2_pdm_medium", "sd35_medium"),
        ("dmd2_sdxl", "sdxl"),
        ("hyper_flux", "flux_dev"),
        ("swd_large_6", "sd35_large"),
        ("sd35_medium_turbo", None),  # weights of its own: what it was distilled from is not declared
        ("sdxl", None),
        ("switti", None),
    ],
)
def test_the_teacher_of_a_published_student_is_its_base_alone(row: str, teacher: str | None) -> None:
    rows = TABLE4.rows_in(MEDIUM.name)
    found = teacher_of(TABLE4.row(row), rows, MEDIUM)
    assert (found and found.key) == teacher


def test_the_teacher_of_a_student_of_the_profile_is_the_first_teacher() -> None:
    mini = load_profile("mini")
    found = teacher_of(TABLE4.row("lcm_4"), TABLE4.rows_in("mini"), mini)
    assert found is TABLE4.row("teacher")
    assert teacher_of(Row("x", "X", images=True), TABLE4.rows_in("mini"), mini) is None


def test_a_share_is_shown_of_columns_that_ask_for_it() -> None:
    assert [column.key for column in MEDIUM.columns if column.of_teacher] == ["diversity"]
    assert not Column("a", "A").of_teacher


# rows without numbers


def test_rows_without_numbers_are_named_below_a_table_without_published_ones() -> None:
    reason = "No such student was released; train one."
    absent = [
        replace(real(record("fullscale_2", prompts, metric, 0.0)), value=None, note=reason)
        for prompts, metric in (("coco", "pickscore"), ("geneval", "geneval"))
    ]
    folder = replace(real(record("other", "geneval", "geneval", 0.0)), value=None, note="Its folder has no images.")
    made = [*asked(), *scored("scalewise_4"), *absent, folder, real(record("other", "coco", "pickscore", 0.2))]
    text = shown(made)
    assert cells(section(text, "COCO 2014"), "Full-scale", "PS (paper) \u2191") == ["0.228", "0.228", "0.226"]
    geneval = section(text, "GenEval")
    assert "| Full-scale" not in geneval
    assert "Full-scale at 2 steps: not measured; the other tables say why." in geneval
    assert "- other: its folder has no images." in geneval
    assert reason in section(text, "COCO 2014")


def test_costs_of_rows_that_were_not_sampled_say_why() -> None:
    reason = "No such student."
    absent = replace(real(record("fullscale_2", "coco", "pickscore", 0.0)), value=None, note=reason)
    made = [*scored("scalewise_4"), real(record("scalewise_4", "", "tokens", 564)), *scored("other"), absent]
    coco = section(shown(made), "COCO 2014")
    assert cells(coco, "Scale-wise", "Tokens \u00d7 steps")[1] == "564"
    (mark,) = {cell.removeprefix("\u2014 ") for cell in cells(coco, "other", "Tokens \u00d7 steps")}
    assert f"- {mark} Its images were sampled elsewhere: what they cost is not known here." in coco
    mark = cells(coco, "Full-scale", "Tokens \u00d7 steps")[2].removeprefix("\u2014 ")
    assert f"- {mark} {reason}" in coco


# claims


@pytest.mark.parametrize("table", [TABLE2, TABLE4], ids=lambda table: table.key)
@pytest.mark.parametrize("name", ["sd35-medium", "sd35-large", "sdxl", "flux"])
def test_every_claim_of_not_worse_has_a_margin_that_was_fixed_in_a_real_profile(name: str, table: Table) -> None:
    margins = {column.role: column.margin for column in load_profile(name).columns}
    roles = [
        claim.check.role for claim in table.claims if isinstance(claim.check, Check) and claim.check.kind == "not_worse"
    ]
    assert roles
    assert all(margins[role] for role in roles if role in margins)
    assert margins.keys() & set(roles)


def test_a_page_says_how_large_margins_are_beside_what_few_full_steps_cost() -> None:
    claim = Claim("k", "A claim", better("prompt_alignment", "small", "big"), statement="fewer_full_steps")
    known = ScoresResult(replace(TABLE, claims=(claim,)), PROFILE, RecordSet.of(lines()))
    margin = (PROFILE.columns[0].margin or 0.0) / 0.4
    assert known_effect(known).endswith(f"a margin is: Accuracy +40.0 ({margin:.2f} of it).")
    assert known_effect(replace(known, experiment=replace(TABLE, claims=()))) == ""


def test_a_page_says_which_margin_its_claims_have() -> None:
    claims = " ".join(section(shown(scored("scalewise_6")), "Claims").split())
    assert "(PS 0.002, CS 0.003, IR 0.04, FID 1, GenEval 0.02) were fixed before these records were measured" in claims
    assert "of the order of what the publications' own numbers of one model are apart" in claims
    mini = " ".join(section(shown([], profile="mini"), "Claims").split())
    assert "(Scene score 0.01, Contour error 0.04, FID-E, decoded reference 3.5, Placement 0.35" in mini
    assert "a tenth of what half resolution cost on [the page of metrics](validity.md)" in mini
    for text in (claims, mini):
        assert "half-width" not in text
        assert "at least as good" not in text


def of_one_set(*changes: Line) -> ScoresResult:
    """A table about one set of prompts, of which alone there are records, each of three training seeds."""
    table = replace(TABLE, prompts="COCO 2014", against="small", seeds=(0, 1, 2), reported=None)
    made = [line for line in lines() if getattr(line, "prompts", "") != "long"]
    rng = np.random.default_rng(0)
    for seed in (1, 2):
        for variant in ("small", "big"):
            values = (rng.random(40) < ACCURACY[variant]).astype(float)
            made.append(record(variant, "short", "accuracy", float(values.mean()), seed=seed))
            made.append(PerImage.of(values, variant=variant, prompts="short", metric="accuracy", seed=seed))
    captions = PerImage.of(range(40), variant=CAPTIONS, prompts="short", metric=CAPTIONS, seed=0)
    return ScoresResult(table, PROFILE, RecordSet.of([*made, captions, *changes]))


def test_a_table_of_one_set_of_prompts_has_its_claims_judged_on_it() -> None:
    result = of_one_set()
    assert [prompts.key for prompts in result.profile.prompt_sets] == ["short"]
    judged = {judgement.claim.key: judgement for judgement in result.judgements}
    assert judged["better"].verdict is Verdict.REPRODUCED
    text = page(result, Path("nowhere"))
    assert "long captions" not in text.lower()
    assert "means over 3 training seeds" in text


def test_every_row_is_compared_with_the_one_of_the_table() -> None:
    text = page(of_one_set(), Path("nowhere"))
    section = text.split("## Against scale-wise")[1].split("\n## ")[0]
    (line,) = [line for line in section.splitlines() if line.startswith("| Full-scale")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2].startswith("\u2212")  # worse
    assert cells[2].endswith("\u2009*")


def test_differences_to_one_row_are_drawn_with_their_margins() -> None:
    result = of_one_set()
    data = against_data(result)
    assert data.labels == ("Full-scale",)
    accuracy, distance = data.panels
    (bar,) = accuracy.bars
    assert bar is not None
    assert bar.low < bar.difference < bar.high < 0
    assert (bar.is_shown, accuracy.margin, accuracy.axis) == (True, 5.0, "Accuracy: better by")
    assert distance.bars == (None,)
    made = drawing(result)
    assert made is not None
    assert made.kind == "against"
    assert made.draw().startswith(b"\x89PNG")


def test_seeds_of_students_that_diverged_are_not_counted() -> None:
    diverged = [record("big", "short", "accuracy", None, seed=seed, note="seed diverged: NaN") for seed in (3, 4)]
    assert of_one_set(*diverged).judgements[0].comparison == of_one_set().judgements[0].comparison


def test_a_version_of_the_paper_that_was_not_recovered_has_a_column_that_says_so() -> None:
    assert TABLE.reported is not None
    table = replace(TABLE, reported=replace(TABLE.reported, lost="v0"))
    text = page(ScoresResult(table, PROFILE, RecordSet.of(lines())), Path("nowhere"))
    assert text.count("not recovered") == 2  # students of the set that the paper has
    assert "v0 (paper)" in text
