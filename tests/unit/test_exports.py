import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from export_world import EVERY_EVAL_EVER, published_result
from harness_world import PROFILE, RUN, TABLE, lines, record
from huggingface_hub import EvalResultEntry
from hypothesis import given
from hypothesis import strategies as st

from repro import __main__ as cli
from repro import load_experiment
from repro.harness.experiment import Row
from repro.harness.exports.every_eval_ever import every_eval_ever
from repro.harness.exports.hub import Benchmark, eval_results
from repro.harness.exports.models import Model, model_of
from repro.harness.exports.scale import toy_scale
from repro.harness.exports.scores import RowScores, row_scores
from repro.harness.kind import UsageError
from repro.harness.profile import Data, Profile, Weights
from repro.harness.records import Line, RecordSet, save
from repro.harness.systems import HubFile, System
from repro.kinds.scores.declare import Clock
from repro.kinds.scores.result import ScoresResult
from repro.profiles import load_profile

PAPER_TABLES = Path(__file__).parents[2] / "paper_tables"
BENCHMARK = Benchmark("someone/text-to-image")


def rows(made: list[Line] | None = None, profile: Profile = PROFILE) -> dict[str, RowScores]:
    result = ScoresResult(TABLE, profile, RecordSet.of(lines() if made is None else made))
    return {found.row.key: found for found in row_scores(result)}


def document(found: RowScores) -> dict[str, Any]:
    return json.loads(every_eval_ever(found, "A lab"))


def scores(found: RowScores) -> dict[str, float]:
    return {
        made["evaluation_result_id"]: made["score_details"]["score"] for made in document(found)["evaluation_results"]
    }


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout elsewhere with the records of the toy table."""
    monkeypatch.setattr(cli, "_root", lambda: tmp_path)
    monkeypatch.setattr(cli, "load_profile", lambda _: PROFILE)
    monkeypatch.setattr(cli, "load_experiment", lambda _: TABLE)
    save(tmp_path / "paper_tables" / "records" / "table2.jsonl", RecordSet.of(lines()))
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Every Eval Ever


@pytest.mark.parametrize("row", ["teacher", "small", "big"])
def test_a_row_fits_the_schema_of_every_eval_ever(row: str) -> None:
    jsonschema.validate(document(rows()[row]), EVERY_EVAL_EVER)


def _drop(*path: str | int) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        for step in path[:-1]:
            made = made[step]
        del made[path[-1]]

    return change


def _detail_as_number(made: Any) -> None:
    made["source_metadata"]["additional_details"]["wall_seconds"] = 90.0


@pytest.mark.parametrize(
    "change",
    [
        _drop("eval_library"),
        _drop("evaluation_results", 0, "metric_config", "min_score"),
        _drop("model_info", "additional_details", "deployment_type"),
        _detail_as_number,
        lambda made: made.update(notes="none"),
    ],
)
def test_the_schema_of_this_test_refuses_what_every_eval_ever_refuses(change: Callable[[Any], None]) -> None:
    made = copy.deepcopy(document(rows()["small"]))
    change(made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, EVERY_EVAL_EVER)


def test_scores_are_those_of_the_records_each_under_its_prompt_set() -> None:
    assert scores(rows()["small"]) == {
        "short_accuracy": 0.8,
        "short_distance": 1.5,
        "long_accuracy": 0.8,
        "long_accuracy/count": 0.5,
    }


def test_what_could_not_be_measured_is_left_out() -> None:
    assert set(scores(rows()["big"])) == {"short_accuracy", "long_accuracy"}  # the ruler broke


def test_what_belongs_to_no_prompt_set_is_exported_once_and_only_if_it_is_a_score() -> None:
    made = [*lines(), record("small", "", "latency", 0.25), record("small", "", "parameters", 2e6)]
    result = ScoresResult(replace(TABLE, clock=Clock()), PROFILE, RecordSet.of(made))
    found = {row.row.key: row for row in row_scores(result)}["small"]
    assert {key: value for key, value in scores(found).items() if "_" not in key} == {"latency": 0.25}


def test_interval_count_and_direction_are_stated() -> None:
    results = {made["evaluation_result_id"]: made for made in document(rows()["small"])["evaluation_results"]}
    distance, accuracy = results["short_distance"], results["short_accuracy"]
    interval = {"lower": 1.25, "upper": 1.75, "confidence_level": 0.95}
    assert distance["score_details"]["uncertainty"] == {"num_samples": 40, "confidence_interval": interval}
    assert distance["metric_config"]["lower_is_better"] is True
    assert (distance["metric_config"]["min_score"], distance["metric_config"]["max_score"]) == ("-Infinity", "Infinity")
    assert accuracy["metric_config"]["lower_is_better"] is False
    assert (accuracy["metric_config"]["min_score"], accuracy["metric_config"]["max_score"]) == (0.0, 1.0)


def test_several_training_seeds_become_their_mean_and_each_is_kept() -> None:
    made = [
        RUN,
        *(record("small", "short", "accuracy", value, seed=seed) for seed, value in enumerate((0.5, 0.7, 0.9))),
    ]
    (result,) = document(rows(made)["small"])["evaluation_results"]
    assert result["score_details"]["score"] == pytest.approx(0.7)
    assert json.loads(result["score_details"]["details"]["by_training_seed"]) == {"0": 0.5, "1": 0.7, "2": 0.9}
    half = 4.302653 * 0.2 / 3**0.5  # Student's t of two degrees of freedom
    interval = result["score_details"]["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == pytest.approx((0.7 - half, 0.7 + half), rel=1e-6)


def test_times_are_those_of_the_run() -> None:
    made = document(rows()["small"])
    assert made["evaluation_timestamp"] == "2025-03-24T10:15:00Z"
    assert made["retrieved_timestamp"] == "1742811390"  # date -d '2025-03-24 10:16:30 UTC' +%s
    assert RUN.run in made["evaluation_id"]


def test_sampling_is_stated_where_the_run_recorded_it() -> None:
    plan = {"steps": 4, "shift": 3.0}
    made = [replace(RUN, config={"rows": {"small": plan}}), *lines()[1:]]
    results = document(rows(made)["small"])["evaluation_results"]
    assert all(json.loads(found["generation_config"]["additional_details"]["sampling"]) == plan for found in results)


# which model a row is

SD35 = replace(
    PROFILE,
    name="real",
    data=Data(resolution=1024),
    weights=Weights(pipeline="stabilityai/sd35", released={"small": HubFile("yresearch/swd")}),
)
SYSTEM = System(base=HubFile("maker/base"), lora=HubFile("maker/lora", "file.safetensors"), steps=4)


@pytest.mark.parametrize(
    ("row", "command", "wanted"),
    [
        (TABLE.row("teacher"), "", Model("stabilityai/sd35", "published")),
        (TABLE.row("small"), "", Model("yresearch/swd", "published")),
        (TABLE.row("small"), "--seeds 0 --retrain", Model("swd-suite/real-small", "ours")),
        (TABLE.row("small"), "--adapters=mine", Model("swd-suite/real-small", "ours")),
        (TABLE.row("small"), "--adap mine", Model("swd-suite/real-small", "ours")),
        (TABLE.row("teacher"), "--adapters mine", Model("stabilityai/sd35", "published")),
        (TABLE.row("big"), "", Model("swd-suite/real-big", "ours")),
        (Row("other", "Other", system=SYSTEM), "", Model("maker/lora", "published")),
        (Row("switti", "Switti", images=True), "", Model("unknown/switti", "unknown")),
    ],
)
def test_a_row_goes_by_the_name_of_its_model(row: Row, command: str, wanted: Model) -> None:
    run = replace(RUN, command=f"python -m repro table2 {command}")
    assert model_of(row, SD35, run) == wanted


def test_a_pipeline_that_the_command_line_put_in_place_is_not_taken_for_the_published_one() -> None:
    config = {"profile": {"weights": {"pipeline": "/models/of/mine"}}}
    assert model_of(TABLE.row("teacher"), SD35, replace(RUN, config=config)).origin == "ours"


def test_results_of_toy_scale_say_so_everywhere_and_others_nowhere() -> None:
    assert "64 px" in toy_scale(PROFILE)
    assert "toy scale" in every_eval_ever(rows()["small"], "A lab")
    assert eval_results(rows()["small"], BENCHMARK).count("toy scale") == 4
    renamed = [replace(line, profile="real") if hasattr(line, "profile") else line for line in lines()]
    at_scale = rows(renamed, SD35)["small"]
    assert toy_scale(SD35) == ""
    assert "toy scale" not in every_eval_ever(at_scale, "A lab") + eval_results(at_scale, BENCHMARK)


# .eval_results of the Hub


def entries(text: str) -> list[EvalResultEntry]:
    """As huggingface_hub reads a file, which also writes what the file must have said."""
    from huggingface_hub._eval_results import eval_result_entries_to_yaml, parse_eval_result_entries

    found = parse_eval_result_entries(yaml.safe_load(text))
    assert eval_result_entries_to_yaml(found) == yaml.safe_load(text)
    return found


def test_the_hub_reads_every_score_as_the_pages_show_it() -> None:
    found = entries(eval_results(rows()["small"], BENCHMARK))
    assert {entry.task_id: entry.value for entry in found} == {
        "short_accuracy": 80.0,
        "short_distance": 1.5,
        "long_accuracy": 80.0,
        "long_accuracy/count": 50.0,
    }
    assert {entry.dataset_id for entry in found} == {"someone/text-to-image"}
    assert {entry.date for entry in found} == {"2025-03-24T10:15:00Z"}
    assert found[1].notes is not None
    assert "95 % interval 1.25 to 1.75" in found[1].notes


def test_a_revision_of_the_benchmark_is_kept() -> None:
    found = entries(eval_results(rows()["teacher"], Benchmark.parse("someone/text-to-image@abc123")))
    assert {entry.dataset_revision for entry in found} == {"abc123"}


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_every_value_is_read_back_as_a_number(value: float) -> None:
    (found,) = entries(eval_results(rows([RUN, record("small", "short", "distance", value)])["small"], BENCHMARK))
    assert isinstance(found.value, float | int)
    assert found.value == pytest.approx(value, rel=1e-5)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_every_label_is_read_back_as_it_was(label: str) -> None:
    small = rows()["small"]
    found = entries(eval_results(replace(small, row=replace(small.row, label=label)), BENCHMARK))
    assert found[0].notes is not None
    assert found[0].notes.startswith(f"{label} (small)")


@pytest.mark.parametrize("text", ["text-to-image", "a/b/c", "https://huggingface.co/datasets/a/b", "a/b@", " a/b"])
def test_what_names_no_data_set_of_the_hub_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--benchmark takes OWNER/NAME"):
        Benchmark.parse(text)


# published numbers


def test_a_score_stands_beside_the_published_ones() -> None:
    (found,) = row_scores(published_result())
    made = document(found)
    jsonschema.validate(made, EVERY_EVAL_EVER)
    (result,) = made["evaluation_results"]
    v1, v2 = json.loads(result["score_details"]["details"]["published"])
    assert (v1["value"], v1["tolerance"], v1["verdict"]) == (23.3, 1.0, "agrees")
    assert (v2["value"], v2["tolerance"], v2["verdict"]) == (23.7, 1.0, "differs")
    assert v1["publication"].endswith("2503.16397v1")
    (entry,) = entries(eval_results(found, BENCHMARK))
    assert entry.notes is not None
    assert "published 23.3 (SD3.5 Medium, Table 2 of arXiv 2503.16397v1; tolerance 1.0): agrees" in entry.notes
    assert "tolerance 1.0): differs" in entry.notes


def test_published_numbers_of_fractions_are_exported_in_the_unit_of_each_format() -> None:
    score = row_scores(published_result())[0].scores[0]
    percent = replace(score.column, percent=True)
    cell = replace(score.published[0], column=percent, published=0.25, tolerance=0.01)
    found = replace(row_scores(published_result())[0], scores=(replace(score, column=percent, published=(cell,)),))
    (result,) = document(found)["evaluation_results"]
    assert json.loads(result["score_details"]["details"]["published"])[0]["value"] == 0.25
    (entry,) = entries(eval_results(found, BENCHMARK))
    assert entry.notes is not None
    assert "published 25.0 (" in entry.notes


def test_nothing_is_said_of_publications_where_models_are_others() -> None:
    found = rows()["small"]
    assert "published" not in every_eval_ever(found, "A lab")
    assert "published" not in eval_results(found, BENCHMARK)


# the command


def test_export_writes_a_folder_for_each_row_and_the_same_bytes_again(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--benchmark", "someone/text-to-image"]
    assert cli.main([*command, "--out", str(toy / "once")]) == 0
    assert cli.main([*command, "--out", str(toy / "twice")]) == 0
    once = files(toy / "once")
    assert once == files(toy / "twice")
    assert set(once) == {
        f"table2.toy/{row}/{name}"
        for row in ("teacher", "small", "big")
        for name in ("eval.json", ".eval_results/table2.toy.yaml")
    }
    assert f"wrote {toy / 'once' / 'table2.toy' / 'small' / 'eval.json'}" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "folder"), [("SD-XL 1.0", "SD-XL-1.0"), ("../../x", "-..-x"), ("..", "-")])
def test_a_system_cannot_name_a_folder_elsewhere(name: str, folder: str) -> None:
    (found,) = rows([RUN, record(name, "short", "distance", 1.0)]).values()
    assert found.folder == folder


def test_without_a_benchmark_the_hub_gets_nothing_and_the_reason_is_said(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "table2"]) == 0
    assert not list((toy / "results" / "exports").rglob("*.yaml"))
    assert "name yours with --benchmark OWNER/NAME" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["export", "logbook"])
def test_no_records_are_refused(command: str, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--results", str(tmp_path / "nothing")]) == 2
    assert f"no records in {tmp_path / 'nothing'}; measure something first" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export", "logbook"])
def test_an_empty_folder_of_records_is_refused(command: str, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy / "paper_tables" / "records" / "table2.jsonl").unlink()
    assert cli.main([command]) == 2
    assert "measure something first" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export", "logbook"])
def test_an_unknown_table_is_refused_with_the_nearest(
    command: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "table3"]) == 2
    assert "unknown table with records 'table3'; did you mean table2?" in capsys.readouterr().err


def test_a_bad_benchmark_is_refused_before_anything_is_written(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "--benchmark", "nothing"]) == 2
    assert "--benchmark takes OWNER/NAME" in capsys.readouterr().err
    assert not (toy / "results").exists()


def test_a_table_without_scores_is_skipped_with_its_reason_and_refused_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "table3", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "skipped table3: latency" in said.out
    assert "nothing in" in said.err
    assert not files(tmp_path)


def test_the_committed_records_export_as_they_are(tmp_path: Path) -> None:
    assert cli.main(["export", "--out", str(tmp_path), "--benchmark", "someone/text-to-image"]) == 0
    recorded = [json.loads(text) for text in (PAPER_TABLES / "records" / "table2.jsonl").read_text().splitlines()]
    scored = {column.key for column in load_profile("mini").columns if column.better is not None}
    models = {row.key for row in load_experiment("table2").rows if not row.real}
    values = {
        (line["variant"], line["prompts"], line["metric"]): line["value"]
        for line in recorded
        if line["kind"] == "record" and line["prompts"] and line["metric"] in scored and line["variant"] in models
    }
    exported = {}
    for path in tmp_path.glob("table2.mini/*/eval.json"):
        made = json.loads(path.read_text())
        jsonschema.validate(made, EVERY_EVAL_EVER)
        for result in made["evaluation_results"]:
            bounds = [float(result["metric_config"][name]) for name in ("min_score", "max_score")]
            assert bounds[0] <= result["score_details"]["score"] <= bounds[1]
            prompts, _, metric = result["evaluation_result_id"].partition("_")
            exported[path.parent.name, prompts, metric] = result["score_details"]["score"]
    assert exported == values
    assert all(entries(path.read_text()) for path in tmp_path.glob("table2.mini/*/.eval_results/*.yaml"))
